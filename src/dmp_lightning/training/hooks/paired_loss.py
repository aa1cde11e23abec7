"""The paired validation loss as a validation hook: the same samples, noises and timesteps before and after."""

from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from dmp_lightning.intervals import Interval, change_of
from dmp_lightning.metrics.paired_loss import Comparison, compare
from dmp_lightning.training.collect import gather_in_order
from dmp_lightning.training.module import DiffusionModule


class PairedValidation(L.Callback):
    """Collects the loss of each held-out sample; the first validation is the base's, later ones are compared with it.

    `base` is (N, S), the base's losses at one timestep of each of S strata, and `loss` their mean in the latest
    validation; `comparison` is the latest one with the base, and `step` the step after which it was. `times` are
    those in the middle of the strata.
    """

    def __init__(self) -> None:
        self.base: Float[Tensor, "N S"] | None = None
        self.loss = float("nan")
        self.step: int | None = None
        self.comparison: Comparison | None = None
        self.times: list[float] = []
        self._rows: list[tuple[Tensor, Tensor]] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        assert isinstance(pl_module, DiffusionModule)
        self.times = pl_module.process.centres(pl_module.strata).tolist()

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._rows = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self._rows.append((batch.position.cpu(), outputs.cpu()))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        positions, losses = (torch.cat(parts) for parts in zip(*self._rows, strict=True))
        losses = gather_in_order(trainer, positions, losses)
        self.loss, self.step = losses.mean().item(), trainer.global_step
        pl_module.log("val/loss", self.loss)
        if self.base is None:
            self.base = losses
            return
        self.comparison = compare(self.base, losses)
        for name, value in self.comparison.overall.interval._asdict().items():
            pl_module.log(f"val/loss_difference_{name}", value)

    def state_dict(self) -> dict[str, Any]:
        found = self.comparison
        strata = found and dict(zip(Interval._fields, map(list, zip(*found.by_stratum, strict=True)), strict=True))
        parts = found and {"overall": found.overall.plain(), "by_stratum": strata}
        return {"loss": self.loss, "comparison": parts, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss, self.step, parts = state_dict["loss"], state_dict["step"], state_dict["comparison"]
        strata = parts and zip(*(parts["by_stratum"][end] for end in Interval._fields), strict=True)
        self.comparison = parts and Comparison(change_of(parts["overall"]), [Interval(*found) for found in strata])
