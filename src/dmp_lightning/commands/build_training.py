"""Building what trains and evaluates from the config: the LightningModule, the trainer and its callbacks."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment
from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.trust.trusted import build
from dmp_lightning.methods import Method
from dmp_lightning.metrics.features import Features
from dmp_lightning.patching.agreement import check_agreement
from dmp_lightning.reports import figures
from dmp_lightning.runs import folder as checkpoints
from dmp_lightning.training.ema import EMA
from dmp_lightning.training.hooks.evidence import Pictures
from dmp_lightning.training.hooks.frechet import Generation
from dmp_lightning.training.hooks.paired_loss import PairedValidation
from dmp_lightning.training.interruption import Interruption
from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.training.outcome import Evaluation
from dmp_lightning.training.progress import Clock, StepLog, StepProgressBar
from dmp_lightning.training.saving import Checkpoints, StreamedCheckpointIO
from dmp_lightning.user_error import UserError


def build_evaluation(config: DictConfig, features: Features, run_dir: Path) -> Evaluation:
    """The validation hooks, which draw into `run_dir`."""
    settings = config.evaluation
    generation = Generation(
        features,
        build(config.sampler),
        samples=settings.samples,
        batch_size=settings.batch_size,
        shown=settings.shown,
        guidance=settings.guidance,
        seed=settings.seed,
    )
    paired = PairedValidation()
    return Evaluation(paired, generation, Pictures(run_dir, generation, paired, figures), Clock())


def build_trainer(
    config: DictConfig,
    kept: dict[str, Any],
    evaluation: Evaluation,
    ema: EMA | None,
    interruption: Interruption,
    run_dir: Path,
) -> L.Trainer:
    """The trainer of the config, with its loggers and our callbacks; the loggers hold the whole config.

    Args:
        kept: what each checkpoint holds besides, by name.
    """
    loggers: list[Logger] = [build(logger) for logger in config.logger.values()]
    for logger in loggers:
        logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    saving = Checkpoints(run_dir / checkpoints.FOLDER, config.recipe.checkpoint_every, interruption, kept)
    callbacks = [
        interruption,
        *([ema] if ema else []),
        *evaluation.callbacks(),
        StepLog(),
        *([StepProgressBar(refresh_rate=10)] if config.trainer.get("enable_progress_bar", True) else []),
        saving,
    ]
    return build(
        config.trainer,
        logger=loggers,
        callbacks=callbacks,
        # Lightning counts batches, of which a step may take several.
        val_check_interval=config.recipe.validate_every * config.trainer.get("accumulate_grad_batches", 1),
        plugins=[StreamedCheckpointIO(), *environments()],
        default_root_dir=str(run_dir),
    )


def environments() -> list[ClusterEnvironment]:
    """The cluster that Lightning would find by itself, with other settings."""
    # Its own checkpoints would come before ours.
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def build_module(config: DictConfig, method: Method, base: str | dict[str, Any]) -> DiffusionModule:
    """The LightningModule of a method.

    Raises:
        UserError: the base predicts something else than the process wants.
    """
    recipe, process = config.recipe, build(config.diffusion)
    check_agreement(method.backbone, process)
    return DiffusionModule(
        method,
        process,
        optimizer=build(recipe.optimizer),
        lr_scheduler=build(recipe.lr_scheduler),
        learning_rates=learning_rates(recipe, method),
        strata=config.evaluation.strata,
        seed=config.seed,
        validation_seed=config.evaluation.seed,
        base=base,
    )


def learning_rates(recipe: DictConfig, method: Method) -> dict[str, float]:
    """The rate of each parameter group, those of other methods too: methods that are compared share a recipe.

    Raises:
        UserError: a rate is to be multiplied whose group there is not.
    """
    rates, scaled = recipe.learning_rates, recipe.rates_times_prompt_count
    if not set(scaled) <= rates.keys():
        raise UserError(f"recipe.rates_times_prompt_count={scaled}: choose a list from [{', '.join(rates)}].")
    return {name: rate * (method.prompt_count or 1 if name in scaled else 1) for name, rate in rates.items()}
