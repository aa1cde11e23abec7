"""A folder of images."""

import os
from pathlib import Path

from PIL import Image

from dmp_lightning.data.image_sources import Images, fingerprint_of
from dmp_lightning.data.pictures import LeftOut, decode_picture, is_picture


class FolderImages(Images):
    """All images in a folder and those under it, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = [Path(where, file) for where, _, files in os.walk(folder) for file in files if is_picture(file)]
        files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}
        self.names = sorted(files)
        self.left_out = LeftOut()
        self.fingerprint = fingerprint_of(f"{name} {files[name]}" for name in self.names)

    def read(self, index: int) -> Image.Image:
        return decode_picture((self.folder / self.names[index]).read_bytes())
