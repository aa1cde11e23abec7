"""Exponential moving average of what a method trains; evaluation and export use the averages.

Lightning's own averaging copies the whole module, so a frozen backbone would be held and saved twice.
"""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.training.progress import ends_step


class EMA(L.Callback):
    """Keeps `average <- decay * average + (1 - decay) * weight` after each step, and evaluates with the averages.

    Args:
        decay: of the average, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.averages: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        weights = _weights(pl_module)
        held = self.averages or weights
        self.averages = {name: held[name].to(weight.device, copy=True) for name, weight in weights.items()}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not ends_step(trainer, batch_idx):
            return
        weights = _weights(pl_module)
        torch._foreach_lerp_(list(self.averages.values()), list(weights.values()), 1 - self.decay)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.swap(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.swap(pl_module)

    def swap(self, pl_module: L.LightningModule) -> None:
        """Exchange weights and averages; nothing happens for a module that trains nothing."""
        for name, weight in _weights(pl_module).items():
            weight_now = weight.clone()
            weight.copy_(self.averages[name])
            self.averages[name].copy_(weight_now)

    def state_dict(self) -> dict[str, Any]:
        return {"averages": self.averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.averages = state_dict["averages"]


def _weights(pl_module: L.LightningModule) -> dict[str, Tensor]:
    assert isinstance(pl_module, DiffusionModule)
    return {name: parameter.detach() for name, parameter in pl_module.method.trained().items()}
