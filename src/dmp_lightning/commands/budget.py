"""Equal cost: a method trained for as long as another one was."""

import logging
import time
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.build_training import environments
from dmp_lightning.commands.trust.trusted import build
from dmp_lightning.data.stream import DiffusionData
from dmp_lightning.files import read_json, write_json
from dmp_lightning.runs.record import read_results
from dmp_lightning.training.ema import EMA
from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

FILE = "budget.json"  # in a run's folder: what its trial found
WARM_UP, TIMED = 20, 60  # steps of a trial


def with_equal_seconds(
    config: DictConfig, module: DiffusionModule, data: DiffusionData, run_dir: Path, resuming: bool
) -> DictConfig:
    """The config of as many steps as the training can take in the seconds of its budget.

    A short trial measures the time of one step, so nothing else may run on the machine meanwhile. The trial changes no
    weights; it leaves a file in `run_dir`, from which a resumed run takes the same number of steps. Schedules of the
    rate know their end from the start. Time that a training needs only once, to compile say, is left out.

    Raises:
        UserError: the config names no seconds, or not how many.
    """
    seconds, path = reference_seconds(config.budget), run_dir / FILE
    if resuming and path.exists():
        step = read_json(path)["seconds_per_step"]
    else:
        step = seconds_per_step(config, module, data)
        write_json({"seconds_per_step": step}, path)
    steps = max(1, round(seconds / step))
    log.info("Training for %.1f s: %d steps of %.2f ms.", seconds, steps, 1000 * step)
    return OmegaConf.merge(config, {"recipe": {"max_steps": steps}})  # type: ignore[return-value]


def reference_seconds(budget: DictConfig) -> float:
    """The seconds that `budget` names, or those that the training took whose record it names.

    Raises:
        MissingFileError: there is no such record.
        UserError: it names neither, or both; or the run did not train.
    """
    if (budget.seconds is None) == (budget.of is None):
        raise UserError("budget=seconds: set either budget.seconds, or budget.of to the results.json of a run.")
    if budget.of is None:
        return budget.seconds
    seconds = read_results(budget.of).metrics.get("final", {}).get("training_seconds")
    if not seconds:
        raise UserError(f"budget.of={budget.of}: that run did not train, choose another.")
    return seconds


def seconds_per_step(config: DictConfig, module: DiffusionModule, data: DiffusionData) -> float:
    """The mean time of a training step in a trial, after which the weights are as before."""
    before = {name: value.detach().clone() for name, value in module.method.trained().items()}
    if config.compile:
        module.method.compile()
    timer = StepTimer()
    trainer = build(
        config.trainer,
        max_steps=WARM_UP + TIMED,
        limit_val_batches=0,
        callbacks=[timer] if config.recipe.ema_decay is None else [EMA(config.recipe.ema_decay), timer],
        plugins=environments(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, datamodule=data)
    for name, value in module.method.trained().items():
        value.data.copy_(before[name])
    return trainer.strategy.broadcast(timer.mean())


class StepTimer(L.Callback):
    """Notes when each training step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.ends.append(time.perf_counter())

    def mean(self) -> float:
        """Seconds of an optimiser's step, those of the warm-up left out."""
        warm_up = len(self.ends) * WARM_UP // (WARM_UP + TIMED)  # batches; a step may accumulate several
        return (self.ends[-1] - self.ends[warm_up - 1]) / TIMED
