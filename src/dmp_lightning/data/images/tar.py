"""Tars of images, as WebDataset lays them out, or with a tar for each class, as ImageNet is handed out."""

import os
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from dmp_lightning.data.images.class_folders import SYNSET
from dmp_lightning.data.images.given_labels import LABELS, NUMBERS, beside_images, label_of
from dmp_lightning.data.images.masks import masks_among
from dmp_lightning.data.images.source import Images, fingerprint_of, shown_name
from dmp_lightning.data.pictures.read import LeftOut, Picture, check_bytes, decode_picture, is_hidden, is_picture
from dmp_lightning.user_error import UserError

Members = dict[str, tarfile.TarInfo]


class TarImages(Images):
    """A set of tars as WebDataset lays them out: KEY.jpg, and KEY.cls with the label, in the order of the archives.

    There is one image a key: with KEY.jpg, KEY.seg.png is left out. A tar of tars stands for these. Where the tars are
    no numbered parts of one set, or are named as ImageNet's classes, each is a folder of its own.

    The library of that name only streams; here each image is read where it lies, so that work can go on anywhere.

    Raises:
        UserError: it cannot be told which of a key's files is the image.
    """

    def __init__(self, archives: Sequence[Path]) -> None:
        self.files, self.left_out = archives, LeftOut()
        self.places: list[tuple[int, int, int]] = []
        self.names, labels, problem = [], [], None
        origins: set[str] = set()
        inside: list[tuple[str, str]] = []
        empty, folders = [], set[str]()
        for number, archive in enumerate(archives):
            with tarfile.open(archive, "r:") as outer:
                for tar, title, start in _tars(outer, archive.name, self.left_out):
                    members = _files(tar, self.left_out)
                    folders |= {member.name for member in tar if member.isdir() and not is_hidden(member.name)}
                    images, beside = self._pictures(members, title)
                    for name in images:
                        self.places.append((number, start + members[name].offset_data, members[name].size))
                        self.names.append(f"{title}: {shown_name(name)}")
                        inside.append((_stem(title), shown_name(name)))
                        files = {suffix: _content(tar, member) for suffix, member in beside[_key(name)].items()}
                        try:
                            label, origin = label_of(files)
                        except ValueError as error:
                            label, origin, problem = None, "", problem or f"{title}: {_key(name)}{error}"
                        labels.append(label)
                        origins |= {origin} - {""}
                    empty += [] if images else [_stem(title)]
        self.given = beside_images(self.names, labels, origins, problem)
        stems = sorted({stem for stem, _ in inside} | set(empty))
        apart = _are_classes(stems, inside)
        self.paths = [f"{stem}/{name}" if apart else name for stem, name in inside]
        self.folders = stems if apart else folders
        lines = zip(self.names, self.places, strict=True)
        self.fingerprint = fingerprint_of(f"{name} {place}" for name, place in lines)

    def read(self, index: int) -> Picture:
        number, offset, size = self.places[index]
        check_bytes(size)
        with open(self.files[number], "rb") as file:
            file.seek(offset)
            return decode_picture(file.read(size))

    def _pictures(self, members: Members, title: str) -> tuple[list[str], dict[str, Members]]:
        """The names of the images, one a key; and the files beside them that may tell a label, by key and suffix."""
        pictures, others = defaultdict(list), defaultdict[str, Members](dict)
        keys = {_key(name) for name in members if not is_picture(name)}
        for name, member in members.items():
            if is_picture(name):
                pictures[_key(name)].append(name)
                continue
            suffix = name[len(_key(name)) + 1 :].lower()
            if suffix in (*LABELS, *NUMBERS, "json"):
                others[_key(name)][suffix] = member
            else:
                self.left_out.add_file(name)
        chosen = []
        for key, names in pictures.items():
            plain = [name for name in names if "." not in name[len(key) + 1 :]]
            if len(names) == 1 or (key not in keys and len(plain) != 1):
                chosen += names
            elif len(plain) == 1:
                chosen += plain
                for name in names:
                    self.left_out[name[len(key) :].lower()] += name not in plain
            else:
                raise UserError(f"{title} has several images of one key, {names[0]} and {names[1]}: leave one in it.")
        masks = masks_among(chosen)
        self.left_out["mask beside its image"] += len(masks)
        return [name for name in members if name in set(chosen) - masks], others


def _tars(outer: tarfile.TarFile, title: str, left_out: LeftOut) -> Iterator[tuple[tarfile.TarFile, str, int]]:
    """A tar, its title, and where its data begin in the file: this one, or, where it holds no images, those in it."""
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


def _are_classes(stems: Sequence[str], inside: Sequence[tuple[str, str]]) -> bool:
    """Whether tars of these names stand for folders: not numbered parts of one set, nor with folders in them."""
    if all(re.fullmatch(SYNSET, stem) for stem in stems):
        return True
    numbered = len({re.sub(r"\d+", "0", stem) for stem in stems}) == 1
    return not numbered and not any("/" in name for _, name in inside)


def _files(tar: tarfile.TarFile, left_out: LeftOut) -> Members:
    """The ordinary files in a tar whose data lie in one piece; of several with one name the last.

    Raises:
        tarfile.TarError: it is cut off, damaged, or goes on behind its end: the library would stop without a word.
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
            raise tarfile.ReadError(f"{tar.name!s} goes on behind its end, as several tars in one file do")
    return found


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # it is an ordinary file
    return file.read(2**20)  # labels are short


def _key(name: str) -> str:
    """What WebDataset calls so: all up to the first dot of the file's own name."""
    end = name.find(".", name.rfind("/") + 1)
    return name if end < 0 else name[:end]


def _stem(title: str) -> str:
    return os.path.splitext(title)[0]
