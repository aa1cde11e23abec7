"""The progress bar and the clock of a run, both counted in steps of an endless stream."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar


class StepProgressBar(TQDMProgressBar):
    """Shows steps done of those to do; Lightning's own knows no total where the stream is endless."""

    @property
    def total_train_batches(self) -> int:
        return self.trainer.max_steps * self.trainer.accumulate_grad_batches

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.train_progress_bar.total = self.total_train_batches  # a resumed run would not set it

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


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
