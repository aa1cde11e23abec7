"""References of pictures, read and cropped as `encode` does it with the images that a model is trained on."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from dmp_lightning.data.images.source import Images
from dmp_lightning.data.pictures.colours import BACKGROUND
from dmp_lightning.data.pictures.fit import CROP, fit_picture
from dmp_lightning.metrics.moments import Moments
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

CROPPED = "cropped to the samples' size"


class PictureReference:
    """Pictures of a folder or archive, read as `encode` reads them.

    Those of the samples' size stay as they are; others are cropped and resized as `encode` does it. The samples decide
    on grey or colour, not any picture.

    Args:
        shape: (C, H, W) of the samples, C being 1 or 3.
        statistics: that are given with the pictures.

    Raises:
        UserError: the samples are no pictures; on reading: a picture cannot be read, or cannot be made of that shape.
    """

    def __init__(
        self, images: Images, shape: tuple[int, int, int], statistics: Mapping[str, Moments] | None = None
    ) -> None:
        self.images, self.shape, self.statistics = images, shape, dict(statistics or {})
        self.notes: Counter[str] = Counter()
        if len(images) and shape[0] not in (1, 3):
            raise UserError(f"The samples have {shape[0]} channels, and pictures 1 or 3: leave reference out.")
        written = [] if images.by_content else [os.stat(file).st_mtime_ns for file in images.files]
        about = f"{images.fingerprint} {written} {shape} {CROP} {BACKGROUND}"
        self.fingerprint = f"pictures-{hashlib.sha256(about.encode()).hexdigest()[:16]}"

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        return torch.stack([self._read(index) for index in indices])

    def tell(self) -> None:
        """Say in one line what was done to the pictures that were read."""
        told = ", ".join(f"{count:,} {note}" for note, count in sorted(self.notes.items()) if count)
        if told:
            log.warning("Reference of %s pictures: %s.", f"{len(self):,}", told)

    def _read(self, index: int) -> UInt8[Tensor, "C H W"]:
        try:
            picture = self.images.read(index)
            pixels, notes = fit_picture(picture, self.shape)
        except Exception as error:  # what damaged images raise is of many kinds
            name = self.images.names[index]
            raise UserError(f"{name} cannot be read ({error}): restore it, or take it out of the reference.") from error
        self.notes.update(notes)
        self.notes[CROPPED] += picture.image.size != (self.shape[2], self.shape[1])
        return pixels
