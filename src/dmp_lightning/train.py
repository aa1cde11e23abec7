"""`python -m dmp_lightning.train`: patch a converged diffusion transformer, and measure whether it helped."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from dmp_lightning.backbones import load_weights
from dmp_lightning.entry import CHECKPOINTS, entry_point, latest_checkpoint
from dmp_lightning.methods import Frozen, Method, save_patch
from dmp_lightning.methods.patch_file import fingerprint
from dmp_lightning.reporting import figures
from dmp_lightning.summary import Measured, summarise
from dmp_lightning.training.ema import EMA
from dmp_lightning.training.evaluation import Evaluation
from dmp_lightning.training.generation import Generation
from dmp_lightning.training.loggers import finish, last_run_id
from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.training.paired import PairedValidation
from dmp_lightning.training.pictures import Pictures
from dmp_lightning.training.progress import Clock, StepProgressBar

log = logging.getLogger(__name__)


def train(config: DictConfig) -> dict[str, float]:
    """Evaluate the base, train the method on it, evaluate again, report; returns the final metrics by name."""
    run_dir = Path(config.run_dir)
    checkpoint = checkpoint_to_resume(config)
    data, features, backbone = build_parts(config)
    base = fingerprint(backbone)
    evaluation = build_evaluation(config, features, run_dir)
    ema = None if config.recipe.ema_decay is None else EMA(config.recipe.ema_decay)
    trainer = build_trainer(config, evaluation, ema, run_dir)

    control = Frozen(backbone)
    trainer.validate(build_module(config, control, base), datamodule=data, verbose=False)
    measured = [Measured("pre-trained", control.size, evaluation.outcome())]
    method = instantiate(config.method)(backbone=backbone)
    describe(method)
    if method.trained():
        module = build_module(config, method, base)
        fit(trainer, module, data, checkpoint, config.compile)
        measured.append(Measured(method.label + (", EMA" if ema else ""), method.size, evaluation.outcome()))
        export(module, ema, run_dir, config)
    metrics = summarise(config, measured, evaluation, backbone, str(trainer.strategy.root_device), run_dir)
    finish()
    return metrics


def checkpoint_to_resume(config: DictConfig) -> Path | None:
    """The checkpoint that `resume` means, or None.

    Raises:
        FileNotFoundError: there is none.
    """
    if config.resume is None:
        return None
    found = latest_checkpoint(config.name) if config.resume == "latest" else Path(config.resume)
    if found is None or not found.is_file():
        where = f"in runs/{config.name}" if config.resume == "latest" else f"at {config.resume}"
        raise FileNotFoundError(f"There is no checkpoint {where} to resume: start without resume, or name another.")
    return found


def build_parts(config: DictConfig) -> tuple[L.LightningDataModule, nn.Module, nn.Module]:
    """Data, features and the base with its weights; tells all that is missing at once, before any work.

    Raises:
        FileNotFoundError: one sentence for each file that has to be prepared.
    """

    def backbone() -> nn.Module:
        L.seed_everything(config.seed, verbose=False)
        model = instantiate(config.backbone.model)
        weights = config.backbone.weights
        return model if weights is None else load_weights(model, weights, config.backbone.part)

    builders: list[Callable[[], Any]] = [
        lambda: instantiate(config.data),
        lambda: instantiate(config.features),
        backbone,
    ]
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
    return tuple(built)  # type: ignore[return-value]


def build_evaluation(config: DictConfig, features: Any, run_dir: Path) -> Evaluation:
    """The validation hooks, with pictures in `run_dir/figures`."""
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
        run_dir / "figures",
        generation,
        paired,
        draw_samples=figures.samples_figure,
        draw_gates=figures.gates_figure,
        draw_loss_difference=figures.loss_difference_figure,
    )
    return Evaluation(paired, generation, pictures, Clock())


def build_trainer(config: DictConfig, evaluation: Evaluation, ema: EMA | None, run_dir: Path) -> L.Trainer:
    """The trainer of the config, with its loggers and our callbacks; the loggers hold the whole config."""
    loggers: list[Logger] = [instantiate(logger) for logger in config.logger.values()]
    for logger in loggers:
        logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    checkpoints = ModelCheckpoint(
        run_dir / CHECKPOINTS, filename="{step}", every_n_train_steps=config.recipe.checkpoint_every
    )
    callbacks = [*([ema] if ema else []), *evaluation.callbacks(), StepProgressBar(), checkpoints]
    return instantiate(config.trainer, logger=loggers, callbacks=callbacks, default_root_dir=str(run_dir))


def build_module(config: DictConfig, method: Method, base: str) -> DiffusionModule:
    """The LightningModule of a method."""
    recipe = config.recipe
    return DiffusionModule(
        method,
        instantiate(config.diffusion),
        optimizer=instantiate(recipe.optimizer),
        lr_scheduler=instantiate(recipe.lr_scheduler),
        learning_rates=recipe.learning_rates,
        strata=config.evaluation.strata,
        seed=config.seed,
        validation_seed=config.evaluation.seed,
        base=base,
    )


def describe(method: Method) -> None:
    """Say how large the base is, and what is trained."""
    base = sum(parameter.numel() for parameter in method.backbone.parameters())  # type: ignore[attr-defined]
    share = f"{100 * method.size / base:.3f}%"
    log.info("Base: %s parameters. %s trains %s (%s of the base).", f"{base:,}", method.label, f"{method.size:,}", share)


def fit(
    trainer: L.Trainer, module: DiffusionModule, data: L.LightningDataModule, checkpoint: Path | None, compiled: bool
) -> None:
    """Train, from the checkpoint where there is one, and validate at the end."""
    if compiled:
        module.method.compile()  # in place: the parameters keep their names
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if trainer.global_step % trainer.val_check_interval:
        trainer.validate(module, datamodule=data, verbose=False)


def export(module: DiffusionModule, ema: EMA | None, run_dir: Path, config: DictConfig) -> None:
    """Write what was trained as safetensors; with EMA its averages, and the last weights beside them."""
    about = {"method": OmegaConf.to_container(config.method, resolve=True), "name": config.name, "seed": config.seed}
    if ema is None:
        save_patch(module.method.exported(), run_dir / "patch.safetensors", module.base, about)
        return
    save_patch(module.method.exported(), run_dir / "patch_raw.safetensors", module.base, about)
    ema.swap(module)
    save_patch(module.method.exported(), run_dir / "patch.safetensors", module.base, about)
    ema.swap(module)


main = entry_point("train")(train)

if __name__ == "__main__":
    main()
