"""Images to encode or to compare with, of any source."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int

from dmp_lightning.data.images.given_labels import Given, read_dataset_json
from dmp_lightning.data.images.masks import masks_among
from dmp_lightning.data.pictures.read import LeftOut, Picture


class Images(ABC):
    """Images in an order that never changes. Any process can read any of them.

    `names` are for messages. `paths` are where the images lie in the source, and `folders` are all folders there, empty
    ones too: they decide on the classes. `given` are the source's own labels, or None. `held_out` is how many images at
    the end the source itself sets apart, or None. `fingerprint` names the content. `left_out` counts what else the
    source holds. `files` are those that are read. `texts` are files that may hold captions, by name, each with where it
    is.
    """

    names: Sequence[str]
    paths: Sequence[str]
    folders: Collection[str] = ()
    given: Given | None = None
    held_out: int | None = None
    fingerprint: str
    by_content: ClassVar[bool] = False
    """Whether the fingerprint depends on the content itself, not only on names and sizes."""
    left_out: LeftOut
    files: Sequence[Path | str]
    texts: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def read(self, index: int) -> Picture:
        """One image, as a viewer shows it.

        Raises:
            OSError, ValueError: it cannot be read.
        """

    def read_text(self, name: str) -> bytes:
        """The content of one of the `texts`.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.names)

    def _list(self, found: Mapping[str, int], dataset_json: bytes | None) -> None:
        """Set names, labels and fingerprint, from a size or checksum of each image found, and StyleGAN's labels."""
        masks = masks_among(found)
        self.left_out["mask beside its image"] += len(masks)
        self.names = self.paths = sorted(found.keys() - masks)
        if dataset_json is not None:
            self.given = read_dataset_json(dataset_json, self.names)
            self.left_out[".json"] -= self.given is not None
        self.fingerprint = fingerprint_of(f"{name} {found[name]}" for name in self.names)


def fingerprint_of(lines: Iterable[str]) -> str:
    """A hash of the lines that describe a source."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def fingerprint_with(pictures: str, labels: Int[np.ndarray, " N"]) -> str:
    """The fingerprint of pictures with their labels."""
    return fingerprint_of([pictures, hashlib.sha256(labels.tobytes()).hexdigest()])


def shown_name(name: str) -> str:
    """A file's name as printable UTF-8: bytes of another encoding are written as \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")
