"""What a method may ask of a backbone, and nothing more."""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn


class Conditioning(NamedTuple):
    """The embeddings that steer the blocks, each (B, D)."""

    timestep: Float[Tensor, "B D"]
    label: Float[Tensor, "B D"]


@runtime_checkable
class Backbone(Protocol):
    """A diffusion transformer in three steps, between which a method stands."""

    blocks: nn.ModuleList
    width: int
    tokens: int
    sample_shape: tuple[int, int, int]
    num_classes: int
    class_dropout_prob: float
    null_label: int | None

    def embed(
        self, x: Float[Tensor, "B C H W"], t: Int[Tensor, " B"], y: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T D"], Conditioning]:
        """Tokens and conditioning of noisy samples `x` at timesteps `t` with labels `y`."""

    def unembed(self, tokens: Float[Tensor, "B T D"], conditioning: Conditioning) -> Float[Tensor, "B C2 H W"]:
        """Output of the model: epsilon, then the variance interpolation, along the channels."""
