"""Images to encode or to compare with, of any source, each readable on its own."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from dmp_lightning.data.pictures import LeftOut


class Images(ABC):
    """Images in an order that never changes, each readable on its own, in any process.

    `names` tell them apart in messages; with their folders where they have some. `labels` are given, or None.
    `held_out` is how many at the end the source itself sets apart, or None. `fingerprint` names the content.
    `left_out` counts what the source holds besides.
    """

    names: Sequence[str]
    labels: np.ndarray | None = None
    held_out: int | None = None
    fingerprint: str
    left_out: LeftOut

    @abstractmethod
    def read(self, index: int) -> Image.Image:
        """One image.

        Raises:
            OSError, ValueError: it cannot be read.
        """

    def __len__(self) -> int:
        return len(self.names)


def fingerprint_of(lines: Iterable[str]) -> str:
    """A hash of the lines that a source describes itself with."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
