"""What samples are compared with: images of a data set, of a folder, or of a file of the ADM evaluator's format."""

import hashlib
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dmp_lightning.data.checksums import sha256
from dmp_lightning.data.images import to_uint8
from dmp_lightning.data.source import Source
from dmp_lightning.evaluation.moments import Moments

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
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


class FolderImages:
    """All images in a folder and those below it, in order of their names; all have to be of one size.

    Raises:
        FileNotFoundError: there are none. ValueError, on reading: one is damaged, or of another size.
    """

    def __init__(self, folder: Path) -> None:
        self.files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self.files:
            raise FileNotFoundError(f"There are no images in {folder}: set reference to a folder of some.")
        with _open(self.files[0]) as first:
            self.mode, self.size = "L" if first.mode in ("1", "L", "I;16") else "RGB", first.size
        digest = hashlib.sha256()
        for path in self.files:
            status = path.stat()
            digest.update(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n".encode())
        self.fingerprint, self.statistics = f"folder-{digest.hexdigest()[:16]}", dict[str, Moments]()

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        return torch.stack([self._read(self.files[index]) for index in indices])

    def _read(self, path: Path) -> UInt8[Tensor, "C H W"]:
        with _open(path) as image:
            if image.size != self.size:
                raise ValueError(f"{path} is of size {image.size}, {self.files[0]} of {self.size}: give one size.")
            try:
                pixels = np.array(image.convert(self.mode))
            except OSError as error:
                raise ValueError(f"{path} is damaged ({error}): remove it, or restore it.") from error
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


class NpzImages:
    """A file of the ADM evaluator: images `arr_0` (N, H, W, C), uint8; or statistics, `mu` and `sigma`; or both.

    The Fréchet distance is taken to the statistics where there are some; what else is measured needs the images. These
    are read as they are asked for, which is quick in order alone: files may be larger than memory.

    Raises:
        ValueError: the file is damaged, holds neither, or holds Python objects; on reading: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with np.load(path, allow_pickle=False) as content:
                names = content.files
                self.statistics = {
                    output: Moments(*(torch.from_numpy(content[name]).double() for name in pair))
                    for output, pair in STATISTICS.items()
                    if all(name in names for name in pair)
                }
            self.images = _Array(path, "arr_0") if "arr_0" in names else None
        except Exception as error:  # what numpy and zipfile raise on damaged files is of many kinds
            raise ValueError(f"{path} is damaged, or holds more than arrays ({error}): choose another.") from error
        fits = self.images is None or (self.images.dtype == np.uint8 and len(self.images.shape) == 4)
        if not fits or not (len(self) or self.statistics):
            raise ValueError(f"{path} holds neither arr_0 (N, H, W, C) in uint8, nor mu and sigma: it holds {names}.")
        self.fingerprint = f"npz-{sha256(path)[:16]}"

    def __len__(self) -> int:
        return 0 if self.images is None else self.images.shape[0]

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "B C H W"]:
        assert self.images is not None  # or nobody would ask
        try:
            pixels = np.stack([self.images[index] for index in indices])
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise ValueError(f"{self.path} is damaged ({error}): restore it, or choose another.") from error
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)


class _Array:
    """An array of an `.npz` file, compressed or not, whose rows are read from where they lie."""

    def __init__(self, path: Path, name: str) -> None:
        self.file = zipfile.ZipFile(path).open(f"{name}.npy")  # noqa: SIM115, as long as the array is in use
        version = np.lib.format.read_magic(self.file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, by_columns, self.dtype = read_header(self.file)
        if by_columns or self.dtype.hasobject:
            raise ValueError(f"{name} holds objects, or lies column by column")
        self.start = self.file.tell()

    def __getitem__(self, index: int) -> np.ndarray:
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        self.file.seek(self.start + index * size)
        return np.frombuffer(self.file.read(size), self.dtype).reshape(self.shape[1:])


def open_reference(path: Path) -> Reference:
    """A folder of images, or an `.npz` file.

    Raises:
        FileNotFoundError: there is neither at `path`.
        ValueError: it is no readable one.
    """
    if path.is_dir():
        return FolderImages(path)
    if path.is_file():
        return NpzImages(path)
    raise FileNotFoundError(f"There is no reference at {path}: set it to a folder of images or an .npz file.")


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no readable image: remove it, or restore it.") from error
