"""Where images to encode come from: folders, zips, tars of WebDataset, IDX files."""

import hashlib
import io
import os
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from PIL import Image

from dmp_lightning.data.idx import read_idx

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})


class Images(ABC):
    """Images in an order that never changes, each readable on its own, in any process.

    `names` tell them apart in messages, `folders` are their classes where each has one. `labels` are given, or None.
    `held_out` is how many at the end the source itself sets apart, or None. `fingerprint` names the content.
    """

    names: Sequence[str]
    labels: np.ndarray | None = None
    held_out: int | None = None
    fingerprint: str

    @abstractmethod
    def read(self, index: int) -> Image.Image:
        """One image.

        Raises:
            OSError, ValueError: it cannot be read.
        """

    def __len__(self) -> int:
        return len(self.names)


class FolderImages(Images):
    """All images in a folder and those under it, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = [Path(where, file) for where, _, files in os.walk(folder) for file in files if _is_image(file)]
        files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}
        self.names = sorted(files)
        self.fingerprint = _fingerprint(f"{name} {files[name]}" for name in self.names)

    def read(self, index: int) -> Image.Image:
        return _decoded((self.folder / self.names[index]).read_bytes())


class ZipImages(Images):
    """All images in a zip archive, by name."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        members = {member.filename: member for member in _open_zip(archive, os.getpid()).infolist()}
        self.names = sorted(filter(_is_image, members))
        self.fingerprint = _fingerprint(f"{name} {members[name].CRC}" for name in self.names)

    def read(self, index: int) -> Image.Image:
        try:
            return _decoded(_open_zip(self.archive, os.getpid()).read(self.names[index]))
        except zipfile.BadZipFile as error:
            raise OSError(str(error)) from error


class TarImages(Images):
    """A set of tars as WebDataset lays them out: KEY.jpg, and KEY.cls with the label, in the order of the archives.

    The library of that name only streams; here each image is read where it lies, so that work can go on anywhere.
    """

    def __init__(self, archives: Sequence[Path]) -> None:
        self.archives = archives
        self.places: list[tuple[int, int, int]] = []
        names, labels = [], []
        for number, archive in enumerate(archives):
            with tarfile.open(archive, "r:") as tar:
                members = [member for member in tar if member.isfile()]
                classes = {_key(m.name): _label(tar, m) for m in members if m.name.endswith(".cls")}
            for member in filter(lambda member: _is_image(member.name), members):
                self.places.append((number, member.offset_data, member.size))
                names.append(f"{archive.name}: {member.name}")
                labels.append(classes.get(_key(member.name), -1))
        self.names = names
        missing = labels.count(-1)
        if 0 < missing < len(labels):
            raise ValueError(f"{names[labels.index(-1)]} has no label, though others have: add its .cls file.")
        self.labels = np.array(labels) if labels and not missing else None
        lines = zip(names, self.places, labels, strict=True)
        self.fingerprint = _fingerprint(f"{name} {place} {label}" for name, place, label in lines)

    def read(self, index: int) -> Image.Image:
        number, offset, size = self.places[index]
        with self.archives[number].open("rb") as file:
            file.seek(offset)
            return _decoded(file.read(size))


class IdxImages(Images):
    """MNIST's four IDX files: the training images, then the test images, which are held out."""

    splits: ClassVar = ("train", "t10k")

    def __init__(self, folder: Path) -> None:
        images, labels = (
            [read_idx(folder / f"{split}-{kind}-ubyte") for split in self.splits]
            for kind in ("images-idx3", "labels-idx1")
        )
        self.pixels, self.labels = np.concatenate(images), np.concatenate(labels).astype(np.int64)
        if len(self.pixels) != len(self.labels):
            raise ValueError(f"{folder} holds {len(self.pixels)} images and {len(self.labels)} labels: restore it.")
        self.names = [f"image {index} of {folder}" for index in range(len(self.pixels))]
        self.held_out = len(images[1])
        self.fingerprint = hashlib.sha256(self.pixels.tobytes() + self.labels.tobytes()).hexdigest()

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


def open_images(source: Path) -> Images:
    """The images at `source`: a folder, a zip, a tar, or a folder of tars or IDX files (torchvision's too).

    Raises:
        FileNotFoundError: there is no such file, or no image in it.
        ValueError: an archive is damaged.
    """
    if not source.exists():
        raise FileNotFoundError(f"There is nothing at {source}: set source to where the images are.")
    try:
        images = _open(source)
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise ValueError(f"{source} holds a damaged archive ({error}): restore it.") from error
    if not len(images):
        raise FileNotFoundError(f"There are no images in {source}: set source to where they are.")
    return images


def _open(source: Path) -> Images:
    if source.is_file():
        return TarImages([source]) if tarfile.is_tarfile(source) else ZipImages(source)
    for folder in (source, source / "raw", source / "FashionMNIST" / "raw"):
        if any(folder.glob("train-images-idx3-ubyte*")):
            return IdxImages(folder)
    archives = sorted(source.glob("*.tar"))
    return TarImages(archives) if archives else FolderImages(source)


def folder_labels(names: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels by the folder that each image lies in, counted up in the order of the folders' names, and these names.

    Raises:
        ValueError: an image lies in none.
    """
    folders = [PurePosixPath(name).parent.name for name in names]
    if "" in folders:
        raise ValueError("An image lies in no folder of a class: move it into one, or set labels=none.")
    classes, labels = np.unique(folders, return_inverse=True)
    return labels, tuple(classes.tolist())


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


def _decoded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def _fingerprint(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _open_zip(archive: Path, process: int) -> zipfile.ZipFile:
    """One for each process: they would move each other's position in the file."""
    return zipfile.ZipFile(archive)


def _key(name: str) -> str:
    """What WebDataset calls so: all up to the first dot of the file's own name."""
    return name[: name.find(".", name.rfind("/") + 1)]


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    file = tar.extractfile(member)
    assert file is not None  # it is an ordinary file
    content = file.read()
    if not content.strip().isdigit():
        raise ValueError(f"{member.name} in {tar.name!s} holds no label of 0 or more: mend it.")
    return int(content)
