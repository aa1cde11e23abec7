"""A reference in an `.npz` file: images of the ADM evaluator's format, or statistics, of its or of pytorch-fid's."""

import math
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from dmp_lightning.data.images.source import Images
from dmp_lightning.data.latents.checksums import sha256
from dmp_lightning.data.pictures.read import MAX_PIXELS, LeftOut, Picture, check_bytes
from dmp_lightning.metrics.reference_statistics import checked
from dmp_lightning.user_error import UserError

STATISTICS = {"features": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}


class NpzImages(Images):
    """A file of the ADM evaluator: images `arr_0` (N, H, W, C), uint8; or statistics, `mu` and `sigma`; or both.

    The Fréchet distance is taken to the statistics if there are some; other metrics need the images. These are read one
    by one, which is quick in order alone: files may be larger than memory.

    Raises:
        UserError: the file is damaged, holds neither, or holds Python objects; the statistics are none of features; on
            reading: it is damaged.
    """

    by_content = True

    def __init__(self, path: Path) -> None:
        self.files, self.left_out = [path], LeftOut()
        try:
            with np.load(path, allow_pickle=False) as content:
                held = content.files
                for member in content.zip.infolist():
                    if member.filename != "arr_0.npy":  # which is read an image at a time
                        check_bytes(member.file_size)
                given = {name: content[name] for pair in STATISTICS.values() for name in pair if name in held}
            self.images = _Rows(path, "arr_0") if "arr_0" in held else None
        except Exception as error:  # numpy and zipfile raise many kinds on damaged files
            raise UserError(f"{path} is damaged, or holds more than arrays ({error}): choose another.") from error
        if self.images is None and not given:
            raise UserError(f"{path} holds neither arr_0 (N, H, W, C) in uint8, nor mu and sigma: it holds {held}.")
        if self.images is not None:
            _check_images(path, self.images)
        self.statistics = {}
        for output, pair in STATISTICS.items():
            missing = [name for name in pair if name not in given]
            if len(missing) == 1:
                raise UserError(f"{path} has no {missing[0]} beside {' '.join({*pair} - {*missing})}: choose another.")
            if not missing:
                self.statistics[output] = checked(given[pair[0]], given[pair[1]], pair, path)
        count = 0 if self.images is None else self.images.shape[0]
        self.names = [f"image {index} of {path}" for index in range(count)]
        self.fingerprint = f"npz-{sha256(path)[:16]}"

    def read(self, index: int) -> Picture:
        assert self.images is not None  # it is where there are names
        pixels = self.images[index]
        return Picture(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


class _Rows:
    """An array in an `.npz` file, compressed or not, read one row at a time."""

    def __init__(self, path: Path, name: str) -> None:
        archive = zipfile.ZipFile(path)
        self.file = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(self.file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, self.by_columns, self.dtype = read(self.file)
        if self.dtype.hasobject:
            raise UserError(f"{name} holds objects")
        self.start = self.file.tell()
        if archive.getinfo(f"{name}.npy").file_size != self.start + math.prod(self.shape) * self.dtype.itemsize:
            raise UserError(f"{name} is not of the size that its header says")

    def __getitem__(self, index: int) -> np.ndarray:
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        self.file.seek(self.start + index * size)
        return np.frombuffer(self.file.read(size), self.dtype).reshape(self.shape[1:])


def _check_images(path: Path, images: _Rows) -> None:
    if images.by_columns:
        raise UserError(f"{path}: arr_0 is in Fortran order: save np.ascontiguousarray(arr_0).")
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or 0 in shape or shape[3] not in (1, 3):
        first = len(shape) == 4 and shape[1] in (1, 3)
        remedy = "channels come first, so save arr_0.transpose(0, 2, 3, 1)" if first else "save it again"
        raise UserError(
            f"{path}: arr_0 is {images.dtype} of shape {shape}, not uint8 of shape (N, H, W, C) with C = 1 or 3: "
            f"{remedy}."
        )
    if math.prod(shape[1:3]) > MAX_PIXELS:
        raise UserError(f"{path} holds images of shape {shape[1:]}: the limit is {MAX_PIXELS:,} pixels.")
