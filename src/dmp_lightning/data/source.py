"""What a data set must offer, whether it holds pixels or latents."""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Num, UInt8
from torch import Tensor

from dmp_lightning.condition import Condition


class Stored(NamedTuple):
    """`x` (B, ...), what is stored of each sample, and their `condition`."""

    x: Num[Tensor, "B ..."]
    condition: Condition


@runtime_checkable
class Source(Protocol):
    """A data set of `len()` samples of shape `sample_shape`, a whole batch read at a time."""

    sample_shape: tuple[int, int, int]
    num_classes: int
    mirrors: int
    """2 where each sample's mirror is stored too, else 1."""
    moments: bool
    """Whether means and standard deviations are stored, from which training draws its samples anew each time."""
    fingerprint: str
    """Names the content, for caches of what is derived from it."""
    cache: Path
    """Folder for such caches: beside the data where it has a folder of its own."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int], mirrored: Sequence[int] | None = None) -> Stored:
        """What is stored at `indices`, or, where `mirrored` is 1, of the mirror."""

    def draw(self, x: Num[Tensor, "B ..."], noise: Float[Tensor, "B C H W"] | None = None) -> Float[Tensor, "B C H W"]:
        """Clean samples as the model sees them, of what was read: with the given noise where `moments`, or the means.

        It is called where the model is, so that what loaders hand over is as small as what is stored.
        """

    def images(self, batch_size: int) -> Iterator[UInt8[Tensor, "B C H W"]]:
        """All images, the reference of the Fréchet distance."""

    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """Images in [-1, 1] of samples of the model."""


def ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches workers too; they are needed until the main process's work is done, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
