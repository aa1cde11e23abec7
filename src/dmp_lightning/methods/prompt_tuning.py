"""Plain prompt tuning: the same prompts, always at full strength; the paper's ungated baseline."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dmp_lightning.backbones import Backbone, Conditioning
from dmp_lightning.methods.base import Method


class PromptTuning(Method):
    """One prompt for each token and block is added to the tokens that enter the block; all start at zero."""

    label = "plain prompt tuning"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.prompts = nn.Parameter(torch.zeros(len(backbone.blocks), backbone.tokens, backbone.width))

    def group(self, name: str) -> str | None:
        return "prompts" if name == "prompts" else None

    def prepare(
        self, conditioning: Conditioning, noise: Float[Tensor, "L B P"] | None
    ) -> tuple[Float[Tensor, "T D"], ...]:
        return self.prompts.unbind()  # once for all blocks, see `prompts.Mixture`

    def enter(
        self, tokens: Float[Tensor, "B T D"], block: int, prepared: tuple[Float[Tensor, "T D"], ...]
    ) -> Float[Tensor, "B T D"]:
        return tokens + prepared[block]

    def scale(self, tensors: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
        return {"prompts": strength * tensors["prompts"]}
