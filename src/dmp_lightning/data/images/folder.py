"""A folder of images."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dmp_lightning.data.images.given_labels import DATASET
from dmp_lightning.data.images.source import Images, shown_name
from dmp_lightning.data.pictures.read import CLUTTER, LeftOut, Picture, check_bytes, decode_picture, is_picture, is_text

Identity = tuple[int, int]
"""Device and inode of a folder, the same under any name."""


class FolderImages(Images):
    """All images in a folder and those under it, by name. Links are followed, also those to folders."""

    def __init__(self, folder: Path) -> None:
        self.left_out, texts, folders = LeftOut(), dict[str, str](), list[str]()
        found = {name: (path, size) for name, path, size in self._found(folder, folders, texts)}
        self.folders, self.texts = folders, texts
        listed = folder / DATASET
        self._list({name: size for name, (_, size) in found.items()}, _read(listed) if listed.is_file() else None)
        self.files = [found[name][0] for name in self.names]

    def read(self, index: int) -> Picture:
        return decode_picture(_read(self.files[index]))

    def read_text(self, name: str) -> bytes:
        return _read(self.texts[name])

    def _found(self, source: Path, folders: list[str], texts: dict[str, str]) -> Iterator[tuple[str, str, int]]:
        """Name, path and size of each image; all `folders` and `texts` are listed. No link upwards is followed."""
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
                        folders.append(name)
                        ahead.append((entry.path, f"{name}/", (*above, _identity(status))))
                elif not stat.S_ISREG(status.st_mode):
                    self.left_out["special file"] += 1
                elif is_picture(name):
                    yield name, entry.path, status.st_size
                else:
                    self.left_out.add_file(name)
                    if is_text(name):
                        texts[name] = entry.path

    def _entries(self, folder: str) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
        """The entries of a folder, each with the status of the file that it is or links to."""
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


def _read(path: Path | str) -> bytes:
    check_bytes(os.stat(path).st_size)
    return Path(path).read_bytes()
