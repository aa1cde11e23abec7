"""Tars of images, as WebDataset writes them, or with a tar for each class, as ImageNet is distributed."""

import os
import re
import tarfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from dmp_lightning.data.images.class_folders import SYNSET
from dmp_lightning.data.images.given_labels import LABELS, NUMBERS, beside_images, label_of
from dmp_lightning.data.images.masks import masks_among
from dmp_lightning.data.images.source import Images, fingerprint_of, shown_name
from dmp_lightning.data.pictures.read import (
    LeftOut,
    Picture,
    check_bytes,
    decode_picture,
    is_hidden,
    is_picture,
    is_text,
)
from dmp_lightning.user_error import UserError

Members = dict[str, tarfile.TarInfo]
Place = tuple[int, int, int]
"""Number of the archive, and offset and size in it."""


class TarImages(Images):
    """A set of tars as WebDataset writes them: KEY.jpg, and KEY.cls with the label, in the order of the archives.

    There is one image for each key: beside KEY.jpg, KEY.seg.png is left out. A tar of tars counts as these tars. If the
    tars are not numbered parts of one set, or are named as ImageNet's classes, each counts as a folder.

    WebDataset's own library only streams. Here each image is read where it lies, so that any of them can be read first.

    Raises:
        UserError: a key has several files that may be the image.
    """

    def __init__(self, archives: Sequence[Path]) -> None:
        self.files, self.left_out, self.texts = archives, LeftOut(), dict[str, Place]()
        self.names, self.places, inside, labels = [], list[Place](), list[tuple[str, str]](), []
        stems, folders = set[str](), set[str]()
        for number, archive in enumerate(archives):
            with tarfile.open(archive, "r:") as outer:
                for tar, title, start in _tars(outer, archive.name, self.left_out):
                    members, stem = _files(tar, self.left_out), os.path.splitext(title)[0]
                    stems.add(stem)
                    folders |= {member.name for member in tar if member.isdir() and not is_hidden(member.name)}
                    images, beside = self._pictures(members, title)
                    for name in filter(is_text, members):
                        place = (number, start + members[name].offset_data, members[name].size)
                        self.texts[f"{title}: {shown_name(name)}"] = place
                    for name in images:
                        self.places.append((number, start + members[name].offset_data, members[name].size))
                        self.names.append(f"{title}: {shown_name(name)}")
                        inside.append((stem, shown_name(name)))
                        files = {suffix: _content(tar, member) for suffix, member in beside[key_of(name)].items()}
                        labels.append(label_of(files, f"{title}: {key_of(name)}"))
        self.given = beside_images(self.names, labels)
        apart = _are_classes(stems, inside)
        self.paths = [f"{stem}/{name}" if apart else name for stem, name in inside]
        self.folders = stems if apart else folders
        lines = zip(self.names, self.places, strict=True)
        self.fingerprint = fingerprint_of(f"{name} {place}" for name, place in lines)

    def read(self, index: int) -> Picture:
        return decode_picture(self._content_at(self.places[index]))

    def read_text(self, name: str) -> bytes:
        return self._content_at(self.texts[name])

    def _content_at(self, place: Place) -> bytes:
        number, offset, size = place
        check_bytes(size)
        with open(self.files[number], "rb") as file:
            file.seek(offset)
            return file.read(size)

    def _pictures(self, members: Members, title: str) -> tuple[list[str], dict[str, Members]]:
        """The names of the images, one for each key; and the files that may hold labels, by key and suffix."""
        pictures, others = defaultdict(list), defaultdict[str, Members](dict)
        keys = {key_of(name) for name in members if not is_picture(name)}
        for name, member in members.items():
            suffix = name[len(key_of(name)) + 1 :].lower()
            if is_picture(name):
                pictures[key_of(name)].append(name)
            elif suffix in (*LABELS, *NUMBERS, "json"):
                others[key_of(name)][suffix] = member
            else:
                self.left_out.add_file(name)
        chosen = set[str]()
        for key, names in pictures.items():
            plain = [name for name in names if "." not in name[len(key) + 1 :]]
            if len(names) == 1 or (key not in keys and len(plain) != 1):
                chosen |= set(names)
            elif len(plain) == 1:
                chosen |= set(plain)
                self.left_out.update(name[len(key) :].lower() for name in names if name not in plain)
            else:
                raise UserError(f"{title} has two images with the same key, {names[0]} and {names[1]}: remove one.")
        masks = masks_among(chosen)
        self.left_out["mask beside its image"] += len(masks)
        return [name for name in members if name in chosen - masks], others


def _tars(outer: tarfile.TarFile, title: str, left_out: LeftOut) -> Iterator[tuple[tarfile.TarFile, str, int]]:
    """A tar, its title, and where its data begin in the file: this one, or, if it holds only tars, those in it."""
    members = _files(outer, LeftOut())
    inner = [member for name, member in members.items() if name.lower().endswith(".tar")]
    if not inner or any(map(is_picture, members)):
        yield outer, title, 0
        return
    for name, member in members.items():
        if member not in inner:
            left_out.add_file(name)
    for member in inner:
        with tarfile.open(member.name, "r:", fileobj=outer.extractfile(member)) as tar:
            yield tar, PurePosixPath(member.name).name, member.offset_data


def _are_classes(stems: Collection[str], inside: Sequence[tuple[str, str]]) -> bool:
    """Whether tars of these names count as folders: not numbered parts of one set, nor with folders in them."""
    if all(re.fullmatch(SYNSET, stem) for stem in stems):
        return True
    numbered = len({re.sub(r"\d+", "0", stem) for stem in stems}) == 1
    return not numbered and not any("/" in name for _, name in inside)


def _files(tar: tarfile.TarFile, left_out: LeftOut) -> Members:
    """The ordinary files in a tar whose data lie in one piece; of several with one name the last.

    Raises:
        tarfile.TarError: it is cut off or damaged, or goes on behind its end. tarfile itself would stop in silence.
    """
    found: Members = {}
    for member in tar:
        name = str(PurePosixPath(member.name))
        if member.isfile() and not member.issparse():
            left_out["earlier file of the same name"] += name in found
            found[name] = member
        elif not member.isdir():
            left_out["link" if member.islnk() or member.issym() else "sparse or special file"] += 1
    assert tar.fileobj is not None  # it is open
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0") or tar.fileobj.tell() < tar.offset + tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"{tar.name!s} is cut off or damaged after {len(found):,} files")
    while block := tar.fileobj.read(tarfile.RECORDSIZE):
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"{tar.name!s} has data after its end, like concatenated tars")
    return found


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # it is an ordinary file
    return file.read(2**20)  # labels are short


def key_of(name: str) -> str:
    """WebDataset's key: all up to the first dot of the file's own name."""
    end = name.find(".", name.rfind("/") + 1)
    return name if end < 0 else name[:end]
