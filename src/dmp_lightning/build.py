"""Building the parts of a run from its config."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment
from omegaconf import DictConfig, ListConfig, OmegaConf

from dmp_lightning import checkpoints
from dmp_lightning.backbones import Backbone, in_dtype, load_weights
from dmp_lightning.data.module import DiffusionData
from dmp_lightning.data.source import Source
from dmp_lightning.evaluation.features import Features
from dmp_lightning.methods import Method
from dmp_lightning.reporting import figures
from dmp_lightning.training.checkpoint_io import StreamedCheckpointIO
from dmp_lightning.training.checkpoints import Checkpoints
from dmp_lightning.training.ema import EMA
from dmp_lightning.training.evaluation import Evaluation
from dmp_lightning.training.generation import Generation
from dmp_lightning.training.interruption import Interruption
from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.training.paired import PairedValidation
from dmp_lightning.training.pictures import Pictures
from dmp_lightning.training.progress import Clock, StepLog, StepProgressBar
from dmp_lightning.training.tables import Tables


def build_parts(config: DictConfig) -> tuple[DiffusionData, Features, Backbone]:
    """Data, features and the base with its weights; tells all that is missing at once, before any work.

    Raises:
        FileNotFoundError: one sentence for each file that has to be prepared.
        ValueError: data and base do not go together.
    """
    data, features, base = build_together(
        lambda: instantiate(config.data), lambda: instantiate(config.features), lambda: build_backbone(config)
    )
    check_fit(data.train, base)
    return data, features, base


def build_together(*builders: Callable[[], Any]) -> list[Any]:
    """What the builders build; where files are missing, all of them are told at once.

    Raises:
        FileNotFoundError: one sentence for each file that has to be prepared.
    """
    built, missing = [], []
    for build in builders:
        try:
            built.append(build())
        except Exception as error:
            cause = error.__cause__ if isinstance(error.__cause__, FileNotFoundError) else error
            if not isinstance(cause, FileNotFoundError):
                raise
            missing.append(str(cause))
    if missing:
        raise FileNotFoundError("\n       ".join(missing))
    return built


def build_backbone(config: DictConfig) -> Backbone:
    """The base with its weights, or random ones, in the type of the config.

    Raises:
        FileNotFoundError: there is no such weights file.
        ValueError: the weights do not fit, or the type is unknown.
    """
    settings = config.backbone
    L.seed_everything(config.seed, verbose=False)
    model = in_dtype(settings.dtype, lambda: instantiate(settings.model))
    given = OmegaConf.to_container(settings, resolve=True)
    assert isinstance(given, dict)
    return model if settings.weights is None else load_weights(model, given["weights"], given["part"], given["labels"])


def set_matmul_precision(config: DictConfig) -> None:
    """Let CUDA multiply matrices of float32 as exactly as the config says; a CPU multiplies them exactly.

    Raises:
        ValueError: there is no such precision.
    """
    if config.matmul_precision not in ("highest", "high", "medium"):
        raise ValueError(f"matmul_precision={config.matmul_precision} is unknown: choose highest, high or medium.")
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision(config.matmul_precision)


def build_method(config: DictConfig, backbone: Backbone) -> Method:
    """The method of the config on the base."""
    method = instantiate(config.method)(backbone=backbone)
    method.activation_checkpointing = config.activation_checkpointing
    return method


def check_fit(source: Source, backbone: Backbone) -> None:
    """Make sure that the data are what the base models.

    Raises:
        ValueError: samples of another shape, more classes than the base knows, or a VAE that is not the data's.
    """
    if tuple(source.sample_shape) != backbone.sample_shape:
        raise ValueError(
            f"The data are of shape {tuple(source.sample_shape)}, the base models {backbone.sample_shape}: "
            "choose a backbone for these data, or set backbone.model.input_size and in_channels."
        )
    if 1 < backbone.num_classes < source.num_classes:
        raise ValueError(
            f"The data have {source.num_classes} classes, the base knows {backbone.num_classes}: set "
            "backbone.model.num_classes."
        )
    source.decode(torch.zeros(1, *source.sample_shape))  # another VAE would be noticed after the first samples only


def build_evaluation(config: DictConfig, features: Features, run_dir: Path) -> Evaluation:
    """The validation hooks, which draw into `run_dir`."""
    settings = config.evaluation
    generation = Generation(
        features,
        instantiate(config.sampler),
        samples=settings.samples,
        batch_size=settings.batch_size,
        shown=settings.shown,
        guidance=settings.guidance,
        seed=settings.seed,
    )
    paired = PairedValidation()
    pictures = Pictures(
        run_dir,
        generation,
        paired,
        draw_samples=figures.samples_figure,
        draw_gates=figures.gates_figure,
        draw_loss_difference=figures.loss_difference_figure,
    )
    return Evaluation(paired, generation, pictures, Tables(generation, paired), Clock())


def build_trainer(
    config: DictConfig, evaluation: Evaluation, ema: EMA | None, interruption: Interruption, run_dir: Path
) -> L.Trainer:
    """The trainer of the config, with its loggers and our callbacks; the loggers hold the whole config."""
    loggers: list[Logger] = [instantiate(logger) for logger in config.logger.values()]
    for logger in loggers:
        logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    saving = Checkpoints(run_dir / checkpoints.FOLDER, config.recipe.checkpoint_every, interruption)
    callbacks = [
        interruption,
        *([ema] if ema else []),
        *evaluation.callbacks(),
        StepLog(),
        StepProgressBar(refresh_rate=10),
        saving,
    ]
    if OmegaConf.select(config, "sweep.trial") is not None:
        from dmp_lightning.search import pruning  # Optuna is an extra

        callbacks.append(pruning(config))
    return instantiate(
        config.trainer,
        logger=loggers,
        callbacks=callbacks,
        plugins=[StreamedCheckpointIO(), *environments()],
        default_root_dir=str(run_dir),
    )


def environments() -> list[ClusterEnvironment]:
    """What Lightning would find out about the cluster with other settings."""
    # Its own checkpoints would come before ours.
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def build_module(config: DictConfig, method: Method, base: str) -> DiffusionModule:
    """The LightningModule of a method."""
    recipe = config.recipe
    return DiffusionModule(
        method,
        instantiate(config.diffusion),
        optimizer=instantiate(recipe.optimizer),
        lr_scheduler=instantiate(recipe.lr_scheduler),
        learning_rates=learning_rates(recipe, method),
        strata=config.evaluation.strata,
        seed=config.seed,
        validation_seed=config.evaluation.seed,
        base=base,
    )


def learning_rates(recipe: DictConfig, method: Method) -> dict[str, float]:
    """The rate of each parameter group, those of other methods too: methods that are compared share a recipe.

    Raises:
        ValueError: a rate is to be multiplied whose group there is not.
    """
    rates, scaled = recipe.learning_rates, recipe.rates_times_prompt_count
    if not isinstance(scaled, ListConfig) or not set(scaled) <= rates.keys():
        raise ValueError(f"recipe.rates_times_prompt_count={scaled}: choose a list from [{', '.join(rates)}].")
    return {name: rate * (method.prompt_count or 1 if name in scaled else 1) for name, rate in rates.items()}
