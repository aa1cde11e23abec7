"""The images and labels of MNIST's IDX files."""

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from dmp_lightning.data.idx_files import read_idx
from dmp_lightning.data.images.given_labels import Given
from dmp_lightning.data.images.source import Images
from dmp_lightning.data.pictures.read import LeftOut, Picture


class IdxImages(Images):
    """MNIST's four IDX files: the training images, then the test images, which are held out."""

    splits: ClassVar = ("train", "t10k")

    by_content = True

    def __init__(self, folder: Path) -> None:
        images, labels = (
            [read_idx(folder / f"{split}-{kind}-ubyte") for split in self.splits]
            for kind in ("images-idx3", "labels-idx1")
        )
        self.pixels, numbers = np.concatenate(images), np.concatenate(labels).astype(np.int64)
        if len(self.pixels) != len(numbers):
            raise ValueError(f"{folder} holds {len(self.pixels)} images and {len(numbers)} labels: restore it.")
        self.given = Given(numbers, "in the IDX files")
        self.paths = [str(index) for index in range(len(self.pixels))]
        self.names = [f"image {index} of {folder}" for index in self.paths]
        self.held_out = len(images[1])
        self.files, self.left_out = [file for file in folder.iterdir() if "-ubyte" in file.name], LeftOut()
        for file in folder.iterdir():
            if file not in self.files:
                self.left_out.add_file(file.name)
        self.fingerprint = hashlib.sha256(self.pixels.tobytes() + numbers.tobytes()).hexdigest()

    def read(self, index: int) -> Picture:
        return Picture(Image.fromarray(self.pixels[index]))
