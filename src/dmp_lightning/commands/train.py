"""The main job: evaluate the base, train a method on it, evaluate again, and report whether it helped."""

import logging
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from dmp_lightning.backbones import Backbone
from dmp_lightning.commands.about import about_patch, losses
from dmp_lightning.commands.base_results import measure_base
from dmp_lightning.commands.build import build_method, build_parts, set_matmul_precision
from dmp_lightning.commands.build_training import build_evaluation, build_module, build_trainer
from dmp_lightning.commands.checks.preflight import check_loss, check_trainer, fingerprints, preflight, read_checkpoint
from dmp_lightning.commands.claim import claim
from dmp_lightning.commands.cli import resume_command
from dmp_lightning.commands.cost import say_cost
from dmp_lightning.commands.earlier import begin, settings_of
from dmp_lightning.commands.resuming import check_settings
from dmp_lightning.commands.summary import Measured, summarise
from dmp_lightning.methods import Frozen, Method, save_patch
from dmp_lightning.methods.patches import base_of
from dmp_lightning.runs.folder import checkpoint_to_resume, latest_in, saved_in
from dmp_lightning.training.ctrl_c import promise, tell
from dmp_lightning.training.ema import EMA
from dmp_lightning.training.interruption import Interrupted, Interruption
from dmp_lightning.training.loggers import finish
from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.training.outcome import Evaluation
from dmp_lightning.training.quiet import quiet

log = logging.getLogger(__name__)


def train(config: DictConfig) -> dict[str, float]:
    """Run the job in the folder `run_dir`, and return the final metrics by name; or only say what it would cost.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM, after saving; the command that resumes is on stderr.
    """
    quiet()
    if config.cost:
        say_cost(config)
        return {}
    run_dir = Path(config.run_dir)
    check_trainer(config)
    checkpoint = checkpoint_to_resume(run_dir, config.resume)
    if checkpoint is not None:
        check_settings(checkpoint, read_checkpoint(checkpoint), config)
    lock = claim(config, run_dir, checkpoint)
    if checkpoint is not None:
        log.info("Resuming %s from %s.", run_dir, checkpoint.name)
    promise(lambda: _how_to_go_on(config, next(reversed(saved_in(run_dir)), checkpoint)))
    try:
        with Interruption() as interruption:
            return patch(config, run_dir, checkpoint, interruption)
    except Interrupted:
        tell(_how_to_go_on(config, latest_in(run_dir)))
        raise
    finally:
        finish()
        lock.release()


def patch(config: DictConfig, run_dir: Path, checkpoint: Path | None, interruption: Interruption) -> dict[str, float]:
    """The job itself."""
    told = config  # a budget turns some of it
    data, features, backbone = build_parts(config)
    evaluation = build_evaluation(config, features, run_dir)
    ema = None if config.recipe.ema_decay is None else EMA(config.recipe.ema_decay)
    control = Frozen(backbone)
    base = base_of(control)
    method = build_method(config, backbone)
    module = build_module(config, method, base)
    preflight(config, module, data, evaluation.generation, checkpoint)
    if checkpoint is not None:
        rank_zero_only(begin)(run_dir, told, resuming=True)
    set_matmul_precision(config)
    if config.budget is not None and method.trained():
        from dmp_lightning.commands.budget import with_equal_seconds

        config = with_equal_seconds(config, module, data, run_dir, resuming=checkpoint is not None)
        module = build_module(config, method, base)  # a schedule of the rate may depend on the number of steps
    kept = {"settings": settings_of(told), "fingerprints": fingerprints(data, evaluation.generation)}
    trainer = build_trainer(config, kept, evaluation, ema, interruption, run_dir)

    control_module = build_module(config, control, base)
    measured = measure_base(config, trainer, control_module, data, evaluation, resuming=checkpoint is not None)
    check_loss(config, measured.loss)
    label = config.label or method.label + (", EMA" if ema else "")
    rows = [Measured(control.label if method.trained() else label, control.label, control.size, measured)]
    describe(method, backbone)
    if method.trained():
        fit(trainer, module, data, evaluation, checkpoint, config.compile)
        rows.append(Measured(label, method.label, method.size, evaluation.outcome()))
        export(module, ema, run_dir, config, losses(measured, evaluation.outcome()))
    return summarise(config, rows, evaluation, backbone, data, trainer, run_dir)


def _how_to_go_on(config: DictConfig, checkpoint: Path | None) -> str:
    again = "the same command" if checkpoint is None or config.sweep else resume_command(checkpoint)
    return f"\nInterrupted. To resume: {again}"  # below the bar of progress


def describe(method: Method, backbone: Backbone) -> None:
    """Say how large the base is, and what is trained."""
    base = sum(weights.numel() for weights in backbone.parameters())
    share = f"{100 * method.size / base:.3f}%"
    log.info(
        "Base: %s parameters. %s trains %s (%s of the base).", f"{base:,}", method.label, f"{method.size:,}", share
    )


def fit(
    trainer: L.Trainer,
    module: DiffusionModule,
    data: L.LightningDataModule,
    evaluation: Evaluation,
    checkpoint: Path | None,
    compiled: bool,
) -> None:
    """Train, from the checkpoint where there is one, and validate at the end, unless that has been done."""
    if compiled:
        module.method.compile()  # in place: the parameters keep their names
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if evaluation.paired.step != trainer.global_step:
        trainer.validate(module, datamodule=data, verbose=False)


def export(module: DiffusionModule, ema: EMA | None, run_dir: Path, config: DictConfig, found: dict[str, Any]) -> None:
    """Write what was trained as safetensors; with EMA its averages, and the last weights beside them.

    Args:
        found: the losses of what was measured, to be said in the file: with EMA, of the averages.
    """
    if not module.trainer.is_global_zero:
        return
    method, about = module.method, about_patch(config, module.method, module.trainer.global_step)
    measured = about | {"training": about["training"] | found}
    if ema is None:
        save_patch(method.exported(), run_dir / "patch.safetensors", module.base, measured)
        return
    raw = about | {"training": about["training"] | {"ema_decay": None}}
    save_patch(method.exported(), run_dir / "patch_raw.safetensors", module.base, raw)
    ema.swap(module)
    save_patch(method.exported(), run_dir / "patch.safetensors", module.base, measured)
    ema.swap(module)
