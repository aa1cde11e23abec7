"""What samples are compared with: images of a data set, of a folder, or of a file of the ADM evaluator's format."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dmp_lightning.data.images import to_uint8
from dmp_lightning.data.source import Source
from dmp_lightning.evaluation.features import Features
from dmp_lightning.evaluation.moments import Moments
from dmp_lightning.evaluation.npz_images import NpzImages
from dmp_lightning.evaluation.reference_statistics import FEWEST

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


@runtime_checkable
class Reference(Protocol):
    """`len()` images, read by their numbers; `statistics` that are given rather than computed, by output."""

    fingerprint: str
    statistics: dict[str, Moments]

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        """The images of these numbers."""


class SourceImages:
    """The images of a data set; of latents, what they decode to."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self.source, self.device = source, device
        self.fingerprint, self.statistics = source.fingerprint, dict[str, Moments]()

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        return to_uint8(self.source.decode(self.source.draw(self.source.read(indices).x.to(self.device))))


class FolderImages:
    """All images in a folder and those below it, in order of their names; all have to be of one size.

    Raises:
        FileNotFoundError: there are none. ValueError, on reading: one is damaged, or of another size.
    """

    def __init__(self, folder: Path) -> None:
        self.files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self.files:
            raise FileNotFoundError(f"There are no images in {folder}: set reference to a folder of some.")
        with _open(self.files[0]) as first:
            self.mode, self.size = "L" if first.mode in ("1", "L", "I;16") else "RGB", first.size
        digest = hashlib.sha256()
        for path in self.files:
            status = path.stat()
            digest.update(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n".encode())
        self.fingerprint, self.statistics = f"folder-{digest.hexdigest()[:16]}", dict[str, Moments]()

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        return torch.stack([self._read(self.files[index]) for index in indices])

    def _read(self, path: Path) -> UInt8[Tensor, "C H W"]:
        with _open(path) as image:
            if image.size != self.size:
                raise ValueError(f"{path} is of size {image.size}, {self.files[0]} of {self.size}: give one size.")
            try:
                pixels = np.array(image.convert(self.mode))
            except OSError as error:
                raise ValueError(f"{path} is damaged ({error}): remove it, or restore it.") from error
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


def open_reference(path: Path) -> Reference:
    """A folder of images, or an `.npz` file.

    Raises:
        FileNotFoundError: there is neither at `path`.
        ValueError: it is no readable one.
    """
    if path.is_dir():
        return FolderImages(path)
    if path.is_file():
        return NpzImages(path)
    raise FileNotFoundError(f"There is no reference at {path}: set it to a folder of images or an .npz file.")


def check_reference(reference: Reference, features: Features) -> None:
    """Make sure, before any work, that samples can be compared with it by their features.

    Raises:
        ValueError: there are too few images, or the statistics are of another extractor.
    """
    if len(reference) < FEWEST and not reference.statistics:
        raise ValueError(f"The reference holds {len(reference)} images: metrics need {FEWEST} or more.")
    for output, statistics in reference.statistics.items():
        found, wanted = len(statistics.mean), features.sizes.get(output)
        if wanted is not None and found != wanted:
            raise ValueError(
                f"The reference's statistics are of {found} {output}, {features.name} has {wanted}: they were made "
                "with another extractor; choose its features=, or set reference to the images."
            )


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no readable image: remove it, or restore it.") from error
