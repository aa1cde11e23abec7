"""What a data set must offer, whether it holds pixels or latents."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


class Draw(NamedTuple):
    """`x` (B, C, H, W), clean samples as the model sees them, and `y` (B,), their labels."""

    x: Float[Tensor, "B C H W"]
    y: Int[Tensor, " B"]


@runtime_checkable
class Source(Protocol):
    """A data set of `len()` samples of shape `sample_shape`, a whole batch read at a time."""

    sample_shape: tuple[int, int, int]
    num_classes: int
    fingerprint: str
    """Names the content, for caches of what is derived from it."""
    cache: Path
    """Folder for such caches: beside the data where it has a folder of its own."""

    def __len__(self) -> int: ...

    def draw(self, indices: Sequence[int], chances: Iterable[torch.Generator] | None) -> Draw:
        """The samples at `indices`; where they are random, each drawn from its own of `chances`, or all their means."""

    def images(self, batch_size: int) -> Iterator[UInt8[Tensor, "B C H W"]]:
        """All images, the reference of the Fréchet distance."""

    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """Images in [-1, 1] of samples of the model."""
