"""A folder of images."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dmp_lightning.data.given_labels import DATASET, read_dataset_json
from dmp_lightning.data.image_sources import Images, fingerprint_of, shown_name
from dmp_lightning.data.masks import masks_among
from dmp_lightning.data.pictures import CLUTTER, LeftOut, Picture, check_bytes, decode_picture, is_picture


class FolderImages(Images):
    """All images in a folder and those under it, by name. Links are followed, also those to folders."""

    def __init__(self, folder: Path) -> None:
        self.left_out = LeftOut()
        self.folders: list[str] = []
        found = dict(self._found(folder, "", (_identity(folder.stat()),)))
        masks = masks_among(found)
        self.left_out["mask beside its image"] += len(masks)
        self.names = self.paths = sorted(found.keys() - masks)
        listed = folder / DATASET
        self.given = read_dataset_json(listed.read_bytes(), self.names) if listed.is_file() else None
        self.left_out[".json"] -= self.given is not None
        self.files = [found[name][0] for name in self.names]
        self.fingerprint = fingerprint_of(f"{name} {found[name][1]}" for name in self.names)

    def read(self, index: int) -> Picture:
        check_bytes(self.files[index].stat().st_size)
        return decode_picture(self.files[index].read_bytes())

    def _found(self, folder: Path, below: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, tuple]]:
        """Name, path and size of each image. A link to one of the folders `above` is not followed."""
        try:
            entries = list(os.scandir(folder))
        except PermissionError:
            self.left_out["unreadable folder"] += 1
            return
        for entry in entries:
            name, path = below + shown_name(entry.name), Path(entry.path)
            try:
                status = entry.stat()
            except OSError:  # a link to nothing, or to itself
                self.left_out["broken link"] += 1
                continue
            if stat.S_ISDIR(status.st_mode):
                if entry.name.startswith(".") or entry.name in CLUTTER:
                    self.left_out["hidden folder"] += entry.name not in CLUTTER
                elif _identity(status) in above:
                    self.left_out["link to a folder above it"] += 1
                else:
                    self.folders.append(name)
                    yield from self._found(path, f"{name}/", (*above, _identity(status)))
            elif not stat.S_ISREG(status.st_mode):
                self.left_out["special file"] += 1
            elif is_picture(name):
                yield name, (path, status.st_size)
            else:
                self.left_out.add_file(name)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
