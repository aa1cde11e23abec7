"""Patches, and the end of a pass, as the adapter of models of diffusers sees them."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Num
from torch import Tensor

from dmp_lightning.backbones.layouts import Place
from dmp_lightning.backbones.spots import Addition


@runtime_checkable
class Source(Protocol):
    """A patch, as the adapter sees it."""

    def additions(
        self, t: Num[Tensor, " B"], e: Float[Tensor, "B E"], places: list[Place]
    ) -> Sequence[Addition | None] | None:
        """The addition to the tokens of each site, which lie at `places`, in a pass at the times `t` of the process,
        whose embedding is `e`; None where the patch takes no part in the pass.
        """


class PassEndedError(Exception):
    """A pass was ended before the blocks; it holds the timestep embedding (B, E)."""


class Ending:
    """A source that ends the pass before the blocks."""

    def additions(self, t: Num[Tensor, " B"], e: Float[Tensor, "B E"], places: list[Place]) -> None:
        raise PassEndedError(e)
