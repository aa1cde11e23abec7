"""All weights of the backbone go on training: full fine-tuning, or pre-training from random weights."""

import torch
from torch import Tensor

from dmp_lightning.methods.base import Method


class FullFinetune(Method):
    """Every parameter of the backbone is trained, except its fixed positions."""

    label = "full fine-tuning"

    def group(self, name: str) -> str | None:
        return None if name.removeprefix("backbone.") in self.backbone.fixed else "backbone"

    def exported(self) -> dict[str, Tensor]:
        """The whole backbone, under the names of the public checkpoints."""
        return self.backbone.weights()

    def scale(self, tensors: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
        """Between the base's weights and those of `tensors` (Wortsman et al. 2022, arXiv 2109.01903)."""
        return {name: torch.lerp(base, tensors[name], strength) for name, base in self.exported().items()}
