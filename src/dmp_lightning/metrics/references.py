"""What samples are compared with: images of a data set, of a folder, or of a file of the ADM evaluator's format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

from dmp_lightning.data.images.open import open_images
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.data.source import Source
from dmp_lightning.metrics.features import Features
from dmp_lightning.metrics.moments import Moments
from dmp_lightning.metrics.npz_images import NpzImages
from dmp_lightning.metrics.reference_pictures import PictureReference
from dmp_lightning.metrics.reference_statistics import FEWEST
from dmp_lightning.user_error import MissingFileError, UserError


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


def open_reference(path: Path, shape: tuple[int, int, int]) -> Reference:
    """A folder or archive of images, or an `.npz` file.

    Args:
        shape: (C, H, W) of the samples, which pictures are made to have.

    Raises:
        MissingFileError: there is neither at `path`.
        UserError: it is no readable one.
    """
    if not path.exists():
        raise MissingFileError(f"There is no reference at {path}: set it to a folder of images or an .npz file.")
    archive = path.is_file() and path.suffix.lower() in (".zip", ".tar")
    if path.is_dir() or archive:
        return PictureReference(open_images(path, "reference"), shape)
    images = NpzImages(path)
    return PictureReference(images, shape, images.statistics)


def check_reference(reference: Reference, features: Features) -> None:
    """Make sure, before any work, that samples can be compared with it by their features.

    Raises:
        UserError: there are too few images, or the statistics are of another extractor.
    """
    if len(reference) < FEWEST and not reference.statistics:
        raise UserError(f"The reference holds {len(reference)} images: metrics need {FEWEST} or more.")
    for output, statistics in reference.statistics.items():
        found, wanted = len(statistics.mean), features.sizes.get(output)
        if wanted is not None and found != wanted:
            raise UserError(
                f"The reference's statistics are of {found} {output}, {features.name} has {wanted}: they were made "
                "with another extractor; choose its features=, or set reference to the images."
            )
