"""Pictures of all formats that are read, decoded as a viewer shows them; and a count of what is left out."""

import io
from collections import Counter
from pathlib import PurePosixPath

from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})


class LeftOut(Counter[str]):
    """How many files of each kind a source leaves out: `left_out["mask"] += 1`, `left_out.add_file(name)`."""

    def add_file(self, name: str) -> None:
        """Count a file that is no picture, by its suffix."""
        self[PurePosixPath(name).suffix.lower() or "file without a suffix"] += 1

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {kind}" for kind, count in self.most_common())


def is_picture(name: str) -> bool:
    """Whether a file of this name, with folders, is taken for a picture."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


def decode_picture(content: bytes) -> Image.Image:
    """The picture that a file's bytes hold.

    Raises:
        OSError, ValueError: they hold none that can be read.
    """
    image = Image.open(io.BytesIO(content))
    image.load()
    return image
