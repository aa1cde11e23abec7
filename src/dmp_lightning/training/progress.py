"""The progress bar, the log and the clock of a run, all counted in steps of an endless stream."""

import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor


def ends_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether the optimiser takes a step after the batch of that index: a step may take several batches."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class StepProgressBar(TQDMProgressBar):
    """Shows steps done of those to do, and the loss; Lightning's own knows no total where the stream is endless."""

    _loss: Tensor | None = None

    @property
    def total_train_batches(self) -> int:
        return self.trainer.max_steps * self.trainer.accumulate_grad_batches

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.train_progress_bar.total = self.total_train_batches  # a resumed run would not set it

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._loss = outputs["loss"]
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        return {} if self._loss is None else {"loss": f"{self._loss.item():.3g}"}


class StepLog(L.Callback):
    """Logs the losses of every so many steps, their mean over all processes and batches, before a checkpoint is taken.

    Lightning's own `log` does so after that hook, so that a run killed in between would lack the row.
    """

    def __init__(self) -> None:
        self._batches: list[dict[str, Tensor]] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._batches.append(outputs["logged"])
        if not ends_step(trainer, batch_idx):
            return
        batches, self._batches = self._batches, []
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not every or trainer.global_step % every:
            return
        means = {name: torch.stack([batch[name] for batch in batches]).mean() for name in batches[0]}
        metrics = {name: trainer.strategy.reduce(value).item() for name, value in means.items()}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step - 1)  # counted from 0, as Lightning's own are


class Clock(L.Callback):
    """Seconds spent in training steps and in validation, apart, over all sessions of a run."""

    def __init__(self) -> None:
        self.training = self.validation = 0.0
        self._last = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.training += self._lap()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._lap()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validation += self._lap()

    def state_dict(self) -> dict[str, float]:
        return {"training": self.training, "validation": self.validation}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.training, self.validation = state_dict["training"], state_dict["validation"]

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._last = now - self._last, now
        return lap
