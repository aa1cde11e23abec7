"""The interface of a data set, of pixels or latents."""

import signal
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Num
from torch import Tensor

from dmp_lightning.condition import Condition


class Stored(NamedTuple):
    """`x` (B, ...), each sample as it is stored, and their `condition`."""

    x: Num[Tensor, "B ..."]
    condition: Condition


@runtime_checkable
class Source(Protocol):
    """A data set of `len()` samples of shape `sample_shape`, read in whole batches.

    If its conditions are labels it also has `num_classes`, and may have `classes`, their names.
    """

    sample_shape: tuple[int, int, int]
    versions: int
    """How many versions of each sample there are to draw from: 2 if its mirror is stored too, else 1."""
    moments: bool
    """Whether means and standard deviations are stored: training then draws a new sample of them each time."""
    fingerprint: str
    """Names the content, for caches of what is derived from it."""
    cache: Path
    """Folder for such caches: beside the data if these have a folder of their own."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int], versions: Sequence[int] | None = None) -> Stored:
        """The stored samples at `indices`, each in the version of that number; version 0 is the sample as it is."""

    def draw(self, x: Num[Tensor, "B ..."], noise: Float[Tensor, "B C H W"] | None = None) -> Float[Tensor, "B C H W"]:
        """Clean samples as the model sees them, from stored ones: of moments, with the given noise, or the means.

        It is called where the model is, so that loaders hand over no more than what is stored.
        """

    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """Images in [-1, 1] of samples of the model."""


@runtime_checkable
class KnowsConditions(Protocol):
    """A source whose conditions are no fixed set, such as texts: it says which ones to sample."""

    conditions: Condition
    """Those to sample, one row each."""
    null: Condition
    """The one that stands for none, such as the empty text, one row."""


@runtime_checkable
class KnowsPictures(Protocol):
    """A source whose samples are some of a set of pictures, so that captions of all pictures can be told apart."""

    count: int
    """The pictures that are stored."""
    indices: Int[np.ndarray, " N"]
    """The number of each sample's picture among those that are stored."""
    held_out: Int[np.ndarray, " H"]
    """The numbers of the held-out pictures."""
    skipped: Collection[str]
    """The names of pictures that could not be read, and are not stored."""

    def may_be_of(self, pictures: str) -> bool:
        """Whether this may be the set of pictures of that fingerprint, see `Images.fingerprint`."""


def captions_of(source: Source, count: int, rows: Sequence[int] | None = None) -> list[str]:
    """The captions of samples 0 to `count` - 1, one line each; none where the conditions are no texts.

    Args:
        rows: of the source's `conditions`, where only these are sampled.
    """
    known = getattr(source, "shown", [])
    shown = known if rows is None else [known[row] for row in rows if known]
    return [" ".join(shown[number % len(shown)].split()) for number in range(count if shown else 0)]


def ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the main process, which needs its workers until its own work is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
