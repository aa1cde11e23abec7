"""References that samples are compared with: a data set, a folder or archive of pictures, or an `.npz` file."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

from dmp_lightning.data.images.open import open_images
from dmp_lightning.data.images.source import Images
from dmp_lightning.data.pictures.colours import BACKGROUND
from dmp_lightning.data.pictures.fit import CROP, fit_picture
from dmp_lightning.data.pixels import images_at
from dmp_lightning.data.source import Source
from dmp_lightning.metrics.features import Features
from dmp_lightning.metrics.moments import Moments
from dmp_lightning.metrics.npz_images import NpzImages
from dmp_lightning.metrics.reference_statistics import FEWEST
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)

CROPPED = "cropped to the samples' size"


@runtime_checkable
class Reference(Protocol):
    """`len()` images, read by their numbers; and `statistics` that are given rather than computed, by output."""

    fingerprint: str
    statistics: dict[str, Moments]

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        """The images of these numbers."""


class SourceImages:
    """The images of a data set, decoded on a device."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self.source, self.device = source, device
        self.fingerprint, self.statistics = source.fingerprint, dict[str, Moments]()

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        return images_at(self.source, indices, self.device)


class PictureReference:
    """Pictures of a folder, archive or `.npz` file, read as `encode` reads them.

    Those of the samples' size stay as they are; others are cropped and resized as `encode` does it. The samples decide
    on grey or colour.

    Args:
        shape: (C, H, W) of the samples, C being 1 or 3.
        statistics: those given with the pictures.

    Raises:
        UserError: the samples are no pictures; on reading: a picture cannot be read, or cannot be made of that shape.
    """

    def __init__(
        self, images: Images, shape: tuple[int, int, int], statistics: Mapping[str, Moments] | None = None
    ) -> None:
        self.images, self.shape, self.statistics = images, shape, dict(statistics or {})
        self.notes: Counter[str] = Counter()
        if len(images) and shape[0] not in (1, 3):
            raise UserError(f"The samples have {shape[0]} channels, but pictures have 1 or 3: leave reference out.")
        written = [] if images.by_content else [os.stat(file).st_mtime_ns for file in images.files]
        about = f"{images.fingerprint} {written} {shape} {CROP} {BACKGROUND}"
        self.fingerprint = f"pictures-{hashlib.sha256(about.encode()).hexdigest()[:16]}"

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        return torch.stack([self._read(index) for index in indices])

    def log_changes(self) -> None:
        """Log in one line how the pictures that were read had to be changed."""
        changes = ", ".join(f"{count:,} {note}" for note, count in sorted(self.notes.items()) if count)
        if changes:
            log.warning("Reference of %s pictures: %s.", f"{len(self):,}", changes)

    def _read(self, index: int) -> UInt8[Tensor, "C H W"]:
        try:
            picture = self.images.read(index)
            pixels, notes = fit_picture(picture, self.shape)
        except Exception as error:  # damaged images raise many kinds
            name = self.images.names[index]
            raise UserError(f"{name} cannot be read ({error}): restore it, or take it out of the reference.") from error
        self.notes.update(notes)
        self.notes[CROPPED] += picture.image.size != (self.shape[2], self.shape[1])
        return pixels


def open_reference(path: Path, shape: tuple[int, int, int]) -> PictureReference:
    """A folder or archive of images, or an `.npz` file; `shape` (C, H, W) is that of the samples.

    Raises:
        MissingFileError: there is nothing at `path`, or no image in it.
        UserError: it is damaged, or holds something else.
    """
    if not path.exists():
        raise MissingFileError(f"There is no reference at {path}: set it to a folder of images or an .npz file.")
    if path.is_dir() or path.suffix.lower() in (".zip", ".tar"):
        return PictureReference(open_images(path, "reference"), shape)
    images = NpzImages(path)
    return PictureReference(images, shape, images.statistics)


def check_reference(reference: Reference, features: Features) -> None:
    """Make sure, before any work, that samples can be compared with it by their features.

    Raises:
        UserError: there are too few images, or the statistics are of another extractor.
    """
    if len(reference) < FEWEST and not reference.statistics:
        raise UserError(f"The reference holds {len(reference)} images: the metrics need {FEWEST} or more.")
    for output, statistics in reference.statistics.items():
        found, wanted = len(statistics.mean), features.sizes.get(output)
        if wanted is not None and found != wanted:
            raise UserError(
                f"The reference has statistics of {found} {output}, but {features.name} has {wanted}: choose the "
                "features= that made them, or set reference to the images."
            )
