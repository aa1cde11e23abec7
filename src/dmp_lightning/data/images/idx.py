"""IDX files (http://yann.lecun.com/exdb/mnist): a magic number, the sizes, the values; and MNIST's images."""

import gzip
import hashlib
import zlib
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dmp_lightning.data.images.given_labels import Given
from dmp_lightning.data.images.source import Images
from dmp_lightning.data.pictures.read import LeftOut, Picture
from dmp_lightning.user_error import MissingFileError, UserError

UNSIGNED_BYTES = 0x08

MAX_BYTES = 2**31
"""Of one file, unpacked: EMNIST, the largest of these, has 0.64 x 10^9."""


class IdxImages(Images):
    """MNIST's four IDX files: the training images, then the test images, which are held out."""

    by_content = True

    def __init__(self, folder: Path) -> None:
        images, labels = zip(*(read_split(folder, split) for split in ("train", "t10k")), strict=True)
        self.pixels, numbers = np.concatenate(images), np.concatenate(labels).astype(np.int64)
        self.given, self.held_out = Given(numbers, "in the IDX files"), len(images[1])
        self.paths = [str(index) for index in range(len(self.pixels))]
        self.names = [f"image {index} of {folder}" for index in self.paths]
        self.files, self.left_out = [file for file in folder.iterdir() if "-ubyte" in file.name], LeftOut()
        for file in folder.iterdir():
            if file not in self.files:
                self.left_out.add_file(file.name)
        self.fingerprint = hashlib.sha256(self.pixels.tobytes() + numbers.tobytes()).hexdigest()

    def read(self, index: int) -> Picture:
        return Picture(Image.fromarray(self.pixels[index]))


def read_split(folder: Path, split: str) -> tuple[UInt8[np.ndarray, "N H W"], UInt8[np.ndarray, " N"]]:
    """MNIST's images and labels of a split, `train` or `t10k`.

    Raises:
        MissingFileError: a file is missing.
        UserError: a file is damaged, or they do not belong together.
    """
    images, labels = (read_idx(folder / f"{split}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise UserError(f"{folder} holds {len(labels)} labels and images of shape {images.shape}: restore it.")
    return images, labels


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in `path`, or, if there is no such file, in `path`.gz.

    Raises:
        MissingFileError: there is neither.
        UserError: the file is damaged, holds values of another type, or too many of them.
    """
    compressed = path.with_name(f"{path.name}.gz")
    found = next((file for file in (path, compressed) if file.is_file()), None)
    if found is None:
        raise MissingFileError(f"There is no {path}, nor {compressed.name} beside it: set the folder to where it is.")
    try:
        with gzip.open(found) if found == compressed else found.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{found} is damaged ({error}): restore it.") from error
    if len(content) > MAX_BYTES:
        raise UserError(
            f"{found} unpacks to more than {MAX_BYTES:,} bytes, too many for an IDX file of images: restore it."
        )
    start = 4 * (1 + content[3]) if len(content) > 3 else 4
    if content[:3] != bytes([0, 0, UNSIGNED_BYTES]) or len(content) < start:
        raise UserError(f"{found} is not an IDX file of unsigned bytes: restore it.")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if len(content) != start + prod(shape):
        raise UserError(f"{found} holds {len(content)} bytes, too few or too many for shape {shape}: restore it.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
