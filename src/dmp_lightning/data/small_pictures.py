"""Small pictures with captions, modelled pixel by pixel and held in memory."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.captioned import Captioned
from dmp_lightning.data.images.open import open_images
from dmp_lightning.data.pictures.fit import fit_picture
from dmp_lightning.data.source import Stored
from dmp_lightning.data.texts.store import Texts
from dmp_lightning.folders import user_cache
from dmp_lightning.user_error import UserError

HELD_OUT = "validation/"
"""The folder of the held-out pictures."""


class SmallPictures:
    """A `Source` of pictures (3, H, W) in [-1, 1], all of one size, without labels.

    Args:
        pictures: a folder, zip or tar of them. size: H and W. train: those in other folders than `validation`, or
            those in it.

    Raises:
        MissingFileError: there are none. UserError: a file is damaged; or none is held out, or all are.
    """

    versions = 1
    moments = False
    skipped = ()

    def __init__(self, pictures: str | Path, size: int, train: bool) -> None:
        images = open_images(Path(pictures), "data.train.pictures", captioned=True)
        self.pictures, self.count = images.fingerprint, len(images)
        inside = np.array([path.startswith(HELD_OUT) for path in images.paths])
        self.held_out = np.flatnonzero(inside)
        self.indices = np.flatnonzero(~inside) if train else self.held_out
        if not len(self.indices):
            where = "outside" if train else "in"
            raise UserError(f"{pictures} has no pictures {where} a folder validation: put those to be held out there.")
        self.sample_shape = (3, size, size)
        read = [fit_picture(images.read(index), self.sample_shape)[0] for index in self.indices.tolist()]
        self.pixels: UInt8[Tensor, "N 3 H W"] = torch.stack(read)
        self.fingerprint, self.cache = f"{images.fingerprint[:16]}-{'train' if train else 'held-out'}", user_cache()

    def __len__(self) -> int:
        return len(self.pixels)

    def may_be_of(self, pictures: str) -> bool:
        return pictures == self.pictures

    def read(self, indices: Sequence[int], versions: Sequence[int] | None = None) -> Stored:
        return Stored(self.pixels[torch.as_tensor(indices)], Condition(torch.zeros(len(indices), dtype=torch.long)))

    def draw(self, x: UInt8[Tensor, "B 3 H W"], noise: Tensor | None = None) -> Float[Tensor, "B 3 H W"]:
        return x.float() / 127.5 - 1

    def decode(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        return x


def captioned_pictures(
    pictures: str,
    texts: str,
    size: int,
    train: bool,
    takes: Collection[str] | Mapping[str, Sequence[int]] | None = None,
    conditions: Sequence[str] = (),
    more: int = 8,
) -> Captioned:
    """Small pictures under the states of their captions.

    Args:
        pictures, size, train: see `SmallPictures`. texts: folder of the states. takes: see `Texts`. conditions:
            captions to sample, and behind them those of so many `more` training pictures, evenly spread.

    Raises:
        MissingFileError: something is missing. UserError: a file is damaged, or they do not go together.
    """
    samples, states = SmallPictures(pictures, size, train), Texts(texts, takes)
    kept = np.delete(np.arange(samples.count), samples.held_out)
    chosen = states.choose(kept[np.linspace(0, len(kept) - 1, more).round().astype(int)])
    return Captioned(samples, states, [*conditions, *(states.captions[number] for number in chosen)])
