"""Images to encode or to compare with, of any source, each readable on its own."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from dmp_lightning.data.images.given_labels import Given
from dmp_lightning.data.pictures.read import LeftOut, Picture


class Images(ABC):
    """Images in an order that never changes, each readable on its own, in any process.

    `names` tell them apart in messages; with their folders where they have some. `paths` are where they lie, by which
    classes are told, and `folders` all folders there, empty ones too. `given` are the source's own labels, or None.
    `held_out` is how many at the end the source itself sets apart, or None. `fingerprint` names the content.
    `left_out` counts what the source holds besides. `files` are those that are read.
    """

    names: Sequence[str]
    paths: Sequence[str]
    folders: Collection[str] = ()
    given: Given | None = None
    held_out: int | None = None
    fingerprint: str
    by_content: ClassVar[bool] = False
    """Whether the fingerprint tells of the content itself, and not of names and sizes alone."""
    left_out: LeftOut
    files: Sequence[Path | str]

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
