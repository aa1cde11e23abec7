"""What a method may ask of a backbone, and nothing more."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn


class Conditioning(NamedTuple):
    """The embeddings that steer the blocks, each (B, D)."""

    timestep: Float[Tensor, "B D"]
    label: Float[Tensor, "B D"]


class Backbone(nn.Module):
    """A diffusion transformer in three steps, between which a method stands.

    Its `blocks` take and return tokens (B, T, D), with the conditioning as second argument. `sample_shape` is
    (C, H, W); `null_label` is None where the model was trained without one.
    """

    blocks: nn.ModuleList
    width: int
    tokens: int
    sample_shape: tuple[int, int, int]
    num_classes: int
    null_label: int | None
    class_dropout_prob: float

    def embed(
        self, x: Float[Tensor, "B C H W"], t: Int[Tensor, " B"], y: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T D"], Conditioning]:
        """Tokens and conditioning of noisy samples `x` at timesteps `t` with labels `y`."""
        raise NotImplementedError

    def unembed(self, tokens: Float[Tensor, "B T D"], conditioning: Conditioning) -> Float[Tensor, "B C2 H W"]:
        """Output of the model: epsilon, then the variance interpolation, along the channels."""
        raise NotImplementedError
