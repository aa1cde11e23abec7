"""Tars of images, as WebDataset lays them out."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmp_lightning.data.image_sources import Images, fingerprint_of, shown_name
from dmp_lightning.data.pictures import LeftOut, Picture, check_bytes, decode_picture, is_picture


class TarImages(Images):
    """A set of tars as WebDataset lays them out: KEY.jpg, and KEY.cls with the label, in the order of the archives.

    The library of that name only streams; here each image is read where it lies, so that work can go on anywhere.
    """

    def __init__(self, archives: Sequence[Path]) -> None:
        self.files, self.left_out = archives, LeftOut()
        self.places: list[tuple[int, int, int]] = []
        names, labels = [], []
        for number, archive in enumerate(archives):
            with tarfile.open(archive, "r:") as tar:
                members = _files(tar, self.left_out)
                classes = {_key(m.name): _label(tar, m) for m in members if m.name.endswith(".cls")}
            for member in members:
                if not is_picture(member.name):
                    if not member.name.endswith(".cls"):
                        self.left_out.add_file(member.name)
                    continue
                self.places.append((number, member.offset_data, member.size))
                names.append(f"{archive.name}: {shown_name(member.name)}")
                labels.append(classes.get(_key(member.name), -1))
        self.names = names
        missing = labels.count(-1)
        if 0 < missing < len(labels):
            raise ValueError(f"{names[labels.index(-1)]} has no label, though others have: add its .cls file.")
        self.labels = np.array(labels) if labels and not missing else None
        lines = zip(names, self.places, labels, strict=True)
        self.fingerprint = fingerprint_of(f"{name} {place} {label}" for name, place, label in lines)

    def read(self, index: int) -> Picture:
        number, offset, size = self.places[index]
        check_bytes(size)
        with self.files[number].open("rb") as file:
            file.seek(offset)
            return decode_picture(file.read(size))


def _files(tar: tarfile.TarFile, left_out: LeftOut) -> list[tarfile.TarInfo]:
    """The ordinary files in a tar, whose data lie in one piece.

    Raises:
        tarfile.TarError: it is cut off, damaged, or goes on behind its end: the library would stop without a word.
    """
    found = []
    for member in tar:
        if member.isfile() and not member.issparse():
            found.append(member)
        elif not member.isdir():
            left_out["link" if member.islnk() or member.issym() else "sparse or special file"] += 1
    assert tar.fileobj is not None  # it is open
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0") or tar.fileobj.tell() < tar.offset + tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"{tar.name!s} is cut off or damaged after {len(found):,} files")
    while block := tar.fileobj.read(tarfile.RECORDSIZE):
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"{tar.name!s} goes on behind its end, as several tars in one file do")
    return found


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
