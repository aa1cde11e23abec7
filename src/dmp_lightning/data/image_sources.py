"""Images to encode or to compare with, of any source, each readable on its own."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from dmp_lightning.data.pictures import LeftOut, Picture


class Images(ABC):
    """Images in an order that never changes, each readable on its own, in any process.

    `names` tell them apart in messages; with their folders where they have some. `labels` are given, or None.
    `held_out` is how many at the end the source itself sets apart, or None. `fingerprint` names the content.
    `left_out` counts what the source holds besides. `files` are those that are read.
    """

    names: Sequence[str]
    labels: np.ndarray | None = None
    held_out: int | None = None
    fingerprint: str
    by_content: ClassVar[bool] = False
    """Whether the fingerprint tells of the content itself, and not of names and sizes alone."""
    left_out: LeftOut
    files: Sequence[Path]

    @abstractmethod
    def read(self, index: int) -> Picture:
        """One image, as a viewer shows it.

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


def shown_name(name: str) -> str:
    """A file's name as it can be printed and kept as UTF-8: bytes of another encoding stand as \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")
