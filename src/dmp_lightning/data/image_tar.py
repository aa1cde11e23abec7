"""Tars of images, as WebDataset lays them out."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dmp_lightning.data.image_sources import Images, fingerprint_of
from dmp_lightning.data.pictures import LeftOut, decode_picture, is_picture


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
            for member in filter(lambda member: is_picture(member.name), members):
                self.places.append((number, member.offset_data, member.size))
                names.append(f"{archive.name}: {member.name}")
                labels.append(classes.get(_key(member.name), -1))
        self.names = names
        missing = labels.count(-1)
        if 0 < missing < len(labels):
            raise ValueError(f"{names[labels.index(-1)]} has no label, though others have: add its .cls file.")
        self.labels = np.array(labels) if labels and not missing else None
        lines = zip(names, self.places, labels, strict=True)
        self.left_out = LeftOut()
        self.fingerprint = fingerprint_of(f"{name} {place} {label}" for name, place, label in lines)

    def read(self, index: int) -> Image.Image:
        number, offset, size = self.places[index]
        with self.archives[number].open("rb") as file:
            file.seek(offset)
            return decode_picture(file.read(size))


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
