"""Fashion-MNIST (Xiao et al. 2017): 70,000 grey pictures of clothing, which Debian packs as dataset-fashion-mnist."""

from pathlib import Path

import torch

from dmp_lightning.data.images.idx import read_split
from dmp_lightning.data.pixels import PixelSource
from dmp_lightning.user_error import UserError


class FashionMNIST(PixelSource):
    """The 60,000 training images, or the 10,000 test images.

    Args:
        folder: of the four IDX files, plain or compressed.
        train: which of the two.

    Raises:
        MissingFileError: a file is missing.
        UserError: a file is damaged, or holds something else.
    """

    def __init__(self, folder: str | Path, train: bool) -> None:
        prefix = "train" if train else "t10k"
        images, labels = read_split(Path(folder), prefix)
        if images.shape[1:] != (28, 28):
            raise UserError(f"{folder} holds images of shape {images.shape[1:]}, not (28, 28): restore it.")
        pixels = torch.tensor(images).unsqueeze(1).float() / 127.5 - 1
        super().__init__(pixels, torch.tensor(labels).long(), 10, f"fashion-mnist-{prefix}")
