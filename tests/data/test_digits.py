"""The split of the digits, against scikit-learn's own arrays."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from dmp_lightning.data.digits import Digits
from dmp_lightning.data.pixels import all_images


def test_the_two_splits_are_all_digits_and_share_none() -> None:
    train, held_out = Digits(True), Digits(False)
    assert (len(train), len(held_out)) == (1437, 360)
    pixels = torch.cat([train.pixels, held_out.pixels]).flatten(1).numpy()
    expected = load_digits().data / 8 - 1
    assert np.array_equal(np.sort(pixels, axis=0), np.sort(expected, axis=0).astype(np.float32))
    shares = np.bincount(held_out.labels) / np.bincount(torch.cat([train.labels, held_out.labels]))
    assert np.allclose(shares, 0.2, atol=0.01)


def test_labels_go_with_their_images() -> None:
    images, labels = load_digits(return_X_y=True)
    known = {image.tobytes(): label for image, label in zip((images / 8 - 1).astype(np.float32), labels, strict=True)}
    drawn = Digits(True).read([0, 5, 1000])
    assert [known[x.numpy().tobytes()] for x in drawn.x] == drawn.condition.label.tolist()


def test_the_reference_images_are_the_training_images_in_8_bits() -> None:
    images = torch.cat(list(all_images(Digits(True), 500)))
    assert images.dtype == torch.uint8
    levels = np.round(np.arange(17) / 16 * 255).astype(int)
    assert set(images.unique().tolist()) <= set(levels.tolist())
