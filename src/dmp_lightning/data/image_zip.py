"""A zip archive of images."""

import os
import zipfile
from functools import lru_cache
from pathlib import Path

from PIL import Image

from dmp_lightning.data.image_sources import Images, fingerprint_of
from dmp_lightning.data.pictures import LeftOut, decode_picture, is_picture


class ZipImages(Images):
    """All images in a zip archive, by name."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        members = {member.filename: member for member in _open_zip(archive, os.getpid()).infolist()}
        self.names = sorted(filter(is_picture, members))
        self.left_out = LeftOut()
        self.fingerprint = fingerprint_of(f"{name} {members[name].CRC}" for name in self.names)

    def read(self, index: int) -> Image.Image:
        try:
            return decode_picture(_open_zip(self.archive, os.getpid()).read(self.names[index]))
        except zipfile.BadZipFile as error:
            raise OSError(str(error)) from error


@lru_cache(maxsize=1)
def _open_zip(archive: Path, process: int) -> zipfile.ZipFile:
    """One for each process: they would move each other's position in the file."""
    return zipfile.ZipFile(archive)
