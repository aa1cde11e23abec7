"""Scikit-learn's handwritten digits: real images that come with the library, so that nothing is downloaded."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Int, UInt8
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from dmp_lightning.data.cache import user_cache
from dmp_lightning.data.images import to_uint8
from dmp_lightning.data.source import Draw

HELD_OUT = 360  # a fifth of the 1,797 images, the same share of each digit


def load_split(train: bool) -> tuple[Float[Tensor, "N 1 8 8"], Int[Tensor, " N"]]:
    """The training images (1,437), or the held-out ones (360), in [-1, 1], and their labels of 0..9.

    Which is which never changes.
    """
    images, labels = load_digits(return_X_y=True)
    halves = train_test_split(images, labels, test_size=HELD_OUT, stratify=labels, random_state=0)
    pixels, chosen = (halves[0], halves[2]) if train else (halves[1], halves[3])
    return torch.from_numpy(pixels).float().view(-1, *Digits.sample_shape) / 8 - 1, torch.from_numpy(chosen).long()


class Digits:
    """The digits of one split as a `Source`; see `load_split`."""

    sample_shape = (1, 8, 8)
    num_classes = 10

    def __init__(self, train: bool) -> None:
        self.pixels, self.labels = load_split(train)
        self.fingerprint = f"sklearn-digits-{'train' if train else 'held-out'}-{len(self)}"
        self.cache = user_cache()

    def __len__(self) -> int:
        return len(self.pixels)

    def draw(self, indices: Sequence[int], chances: Iterable[torch.Generator] | None) -> Draw:
        chosen = torch.as_tensor(indices)
        return Draw(self.pixels[chosen], self.labels[chosen])

    def images(self, batch_size: int) -> Iterator[UInt8[Tensor, "B 1 8 8"]]:
        yield from to_uint8(self.pixels).split(batch_size)

    def decode(self, x: Float[Tensor, "B 1 8 8"]) -> Float[Tensor, "B 1 8 8"]:
        return x
