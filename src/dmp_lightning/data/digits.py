"""Scikit-learn's handwritten digits: real images that come with the library, without a download."""

import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from dmp_lightning.data.pixels import PixelSource

HELD_OUT = 360  # a fifth of the 1,797 images, the same share of each digit


def load_split(train: bool) -> tuple[Float[Tensor, "N 1 8 8"], Int[Tensor, " N"]]:
    """The training images (1,437), or the held-out ones (360), in [-1, 1], and their labels of 0..9.

    The split never changes.
    """
    images, labels = load_digits(return_X_y=True)
    halves = train_test_split(images, labels, test_size=HELD_OUT, stratify=labels, random_state=0)
    pixels, chosen = (halves[0], halves[2]) if train else (halves[1], halves[3])
    return torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 8 - 1, torch.from_numpy(chosen).long()


class Digits(PixelSource):
    """The digits of one split; see `load_split`."""

    def __init__(self, train: bool) -> None:
        super().__init__(*load_split(train), 10, f"sklearn-digits-{'train' if train else 'held-out'}")
