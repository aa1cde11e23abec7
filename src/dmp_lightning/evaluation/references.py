"""What samples are compared with: images of a data set, of a folder, or of a file of the ADM evaluator's format."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from dmp_lightning.data.checksums import sha256
from dmp_lightning.data.image_sources import Images
from dmp_lightning.data.images import to_uint8
from dmp_lightning.data.open_images import open_images
from dmp_lightning.data.pictures import MAX_PIXELS, LeftOut, Picture, check_bytes
from dmp_lightning.data.source import Source
from dmp_lightning.evaluation.moments import Moments
from dmp_lightning.evaluation.reference_pictures import PictureReference

STATISTICS = {"features": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}


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


class NpzImages(Images):
    """A file of the ADM evaluator: images `arr_0` (N, H, W, C), uint8; or statistics, `mu` and `sigma`; or both.

    The Fréchet distance is taken to the statistics where there are some; what else is measured needs the images. These
    are read as they are asked for, which is quick in order alone: files may be larger than memory.

    Raises:
        ValueError: the file is damaged, holds neither, or holds Python objects; on reading: it is damaged.
    """

    by_content = True

    def __init__(self, path: Path) -> None:
        self.files, self.left_out = [path], LeftOut()
        try:
            with np.load(path, allow_pickle=False) as content:
                names = content.files
                for member in content.zip.infolist():
                    if member.filename != "arr_0.npy":  # which is read an image at a time
                        check_bytes(member.file_size)
                self.statistics = {
                    output: Moments(*(torch.from_numpy(content[name]).double() for name in pair))
                    for output, pair in STATISTICS.items()
                    if all(name in names for name in pair)
                }
            self.images = _Array(path, "arr_0") if "arr_0" in names else None
        except Exception as error:  # what numpy and zipfile raise on damaged files is of many kinds
            raise ValueError(f"{path} is damaged, or holds more than arrays ({error}): choose another.") from error
        fits = self.images is None or (self.images.dtype == np.uint8 and self.images.shape[3:] in ((1,), (3,)))
        if self.images is not None and fits and math.prod(self.images.shape[1:3]) > MAX_PIXELS:
            raise ValueError(
                f"{path} holds images of shape {self.images.shape[1:]}: one may have {MAX_PIXELS:,} pixels."
            )
        count = 0 if self.images is None else self.images.shape[0]
        if not fits or not (count or self.statistics):
            raise ValueError(
                f"{path} holds neither arr_0 (N, H, W, 1 or 3) in uint8, nor mu and sigma: it holds {names}."
            )
        self.names = [f"image {index} of {path}" for index in range(count)]
        self.fingerprint = f"npz-{sha256(path)[:16]}"

    def read(self, index: int) -> Picture:
        assert self.images is not None  # or nobody would ask
        pixels = self.images[index]
        return Picture(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


class _Array:
    """An array of an `.npz` file, compressed or not, whose rows are read from where they lie."""

    def __init__(self, path: Path, name: str) -> None:
        archive = zipfile.ZipFile(path)
        self.file = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(self.file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, by_columns, self.dtype = read_header(self.file)
        if by_columns or self.dtype.hasobject:
            raise ValueError(f"{name} holds objects, or lies column by column")
        self.start = self.file.tell()
        if archive.getinfo(f"{name}.npy").file_size != self.start + math.prod(self.shape) * self.dtype.itemsize:
            raise ValueError(f"{name} is not of the size that its header says")

    def __getitem__(self, index: int) -> np.ndarray:
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        self.file.seek(self.start + index * size)
        return np.frombuffer(self.file.read(size), self.dtype).reshape(self.shape[1:])


def open_reference(path: Path, shape: tuple[int, int, int]) -> Reference:
    """A folder or archive of images, or an `.npz` file.

    Args:
        shape: (C, H, W) of the samples, which pictures are made to have.

    Raises:
        FileNotFoundError: there is neither at `path`.
        ValueError: it is no readable one.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no reference at {path}: set it to a folder of images or an .npz file.")
    archive = path.is_file() and path.suffix.lower() in (".zip", ".tar")
    if path.is_dir() or archive:
        return PictureReference(open_images(path, "reference"), shape)
    images = NpzImages(path)
    return PictureReference(images, shape, images.statistics)
