"""A zip archive of images."""

import os
import stat
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from dmp_lightning.data.images.given_labels import DATASET
from dmp_lightning.data.images.source import Images
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


class ZipImages(Images):
    """All images in a zip archive, by name. Of several with one name the last counts, as when it is unpacked."""

    by_content = True

    def __init__(self, archive: Path) -> None:
        self.files, self.left_out, folders = [archive], LeftOut(), list[str]()
        self.texts = dict[str, str]()
        members: dict[str, zipfile.ZipInfo] = {}
        opened = _open_zip(archive, os.getpid())
        for member in opened.infolist():
            name = member.filename.replace("\\", "/")  # which some programs for Windows write
            if member.is_dir():
                folders += [] if is_hidden(name) else [name]
            elif stat.S_ISLNK(member.external_attr >> 16):
                self.left_out["link"] += 1
            elif is_picture(name):
                self.left_out["earlier file of the same name"] += name in members
                members[name] = member
            else:
                self.left_out.add_file(name)
                if is_text(name):
                    self.texts[name] = member.filename
        listed = _unpack(opened, DATASET) if DATASET in opened.NameToInfo else None
        self.folders = folders
        self._list({name: member.CRC for name, member in members.items()}, listed)
        self.members = [members[name].filename for name in self.names]

    def read(self, index: int) -> Picture:
        return decode_picture(self._content(self.members[index]))

    def read_text(self, name: str) -> bytes:
        return self._content(self.texts[name])

    def _content(self, member: str) -> bytes:
        return _unpack(_open_zip(self.files[0], os.getpid()), member)


def _unpack(archive: zipfile.ZipFile, member: str) -> bytes:
    check_bytes(archive.getinfo(member).file_size)
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise OSError(str(error)) from error
    except RuntimeError as error:  # it is encrypted, or packed by a method that is not implemented
        raise UserError(str(error)) from error


@lru_cache(maxsize=1)
def _open_zip(archive: Path | str, process: int) -> zipfile.ZipFile:
    """One for each process: a shared one has a single position in the file."""
    return zipfile.ZipFile(archive)
