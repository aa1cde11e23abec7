"""`python -m dmp_lightning.train`: patch a converged diffusion transformer, and measure whether it helped."""

import logging
from pathlib import Path

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dmp_lightning.build import build_evaluation, build_module, build_parts, build_trainer
from dmp_lightning.entry import entry_point, latest_checkpoint
from dmp_lightning.methods import Frozen, Method, save_patch
from dmp_lightning.methods.patch_file import fingerprint
from dmp_lightning.summary import Measured, summarise
from dmp_lightning.training.ema import EMA
from dmp_lightning.training.loggers import finish
from dmp_lightning.training.module import DiffusionModule

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
    method = instantiate(config.method)(backbone=backbone)
    label = config.label or method.label + (", EMA" if ema else "")
    measured = [Measured(control.label if method.trained() else label, control.size, evaluation.outcome())]
    describe(method)
    if method.trained():
        module = build_module(config, method, base)
        fit(trainer, module, data, checkpoint, config.compile)
        measured.append(Measured(label, method.size, evaluation.outcome()))
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


def describe(method: Method) -> None:
    """Say how large the base is, and what is trained."""
    base = sum(parameter.numel() for parameter in method.backbone.parameters())
    share = f"{100 * method.size / base:.3f}%"
    log.info(
        "Base: %s parameters. %s trains %s (%s of the base).", f"{base:,}", method.label, f"{method.size:,}", share
    )


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
