"""A folder of images."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dmp_lightning.data.images.given_labels import DATASET, read_dataset_json
from dmp_lightning.data.images.masks import masks_among
from dmp_lightning.data.images.source import Images, fingerprint_of, shown_name
from dmp_lightning.data.pictures.read import CLUTTER, LeftOut, Picture, check_bytes, decode_picture, is_picture

Identity = tuple[int, int]
"""Of a folder, whatever names lead to it."""


class FolderImages(Images):
    """All images in a folder and those under it, by name. Links are followed, also those to folders."""

    def __init__(self, folder: Path) -> None:
        self.left_out = LeftOut()
        self.folders: list[str] = []
        found = dict(self._found(folder))
        masks = masks_among(found)
        self.left_out["mask beside its image"] += len(masks)
        self.names = self.paths = sorted(found.keys() - masks)
        listed = folder / DATASET
        if listed.is_file():
            check_bytes(listed.stat().st_size)
            self.given = read_dataset_json(listed.read_bytes(), self.names)
        self.left_out[".json"] -= self.given is not None
        self.files = [found[name][0] for name in self.names]
        self.fingerprint = fingerprint_of(f"{name} {found[name][1]}" for name in self.names)

    def read(self, index: int) -> Picture:
        check_bytes(os.stat(self.files[index]).st_size)
        with open(self.files[index], "rb") as file:
            return decode_picture(file.read())

    def _found(self, source: Path) -> Iterator[tuple[str, tuple[str, int]]]:
        """Name, path and size of each image. A link to one of the folders above it is not followed."""
        ahead: list[tuple[str, str, tuple[Identity, ...]]] = [(str(source), "", (_identity(source.stat()),))]
        while ahead:
            folder, below, above = ahead.pop()
            for entry, status in self._entries(folder):
                name = below + shown_name(entry.name)
                if stat.S_ISDIR(status.st_mode):
                    if entry.name.startswith(".") or entry.name in CLUTTER:
                        self.left_out["hidden folder"] += entry.name not in CLUTTER
                    elif _identity(status) in above:
                        self.left_out["link to a folder above it"] += 1
                    else:
                        self.folders.append(name)
                        ahead.append((entry.path, f"{name}/", (*above, _identity(status))))
                elif not stat.S_ISREG(status.st_mode):
                    self.left_out["special file"] += 1
                elif is_picture(name):
                    yield name, (entry.path, status.st_size)
                else:
                    self.left_out.add_file(name)

    def _entries(self, folder: str) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
        """What is in a folder, and about what it is, or links to."""
        try:
            entries = list(os.scandir(folder))
        except PermissionError:
            self.left_out["unreadable folder"] += 1
            return
        for entry in entries:
            try:
                yield entry, entry.stat()
            except OSError:  # a link to nothing, or to itself
                self.left_out["broken link"] += 1


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
