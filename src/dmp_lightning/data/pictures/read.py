"""Decoding pictures as a viewer shows them; and counting the files that are left out."""

import io
import re
import warnings
from collections import Counter
from functools import cache
from pathlib import PurePosixPath
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from dmp_lightning.data.pictures.bits import raw_mode, to_eight_bits
from dmp_lightning.data.pictures.colours import compose, to_srgb
from dmp_lightning.user_error import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "QOI")
"""Pillow's names of the formats. Its others are not shown alike everywhere, or run a program (EPS)."""

MAX_PIXELS = 2**27
"""Of one picture: 11,585 x 11,585. A file of a few kilobytes may claim more than any memory holds."""

MAX_BYTES = 2**29
"""Of one picture's file, unpacked."""

ARCHIVES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".npz"})
TEXTS = frozenset({".txt", ".caption", ".json", ".jsonl", ".csv"})
"""Suffixes of files that may hold captions."""
CLUTTER = frozenset(
    {".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN"}
    | {"System Volume Information", "__pycache__"}
)
"""Files and folders of operating systems, which are not counted."""

FIRST_FRAME = "taken as their first frame, of several"
TURNED = "turned as their EXIF says"

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that makes a picture upright, by EXIF's orientation."""


class Picture(NamedTuple):
    """A picture in mode L or RGB, and notes on the changes that show it so, such as "composed on white"."""

    image: Image.Image
    notes: tuple[str, ...] = ()


class LeftOut(Counter[str]):
    """The number of files of each kind that a source leaves out: `left_out["mask"] += 1`, `left_out.add_file(name)`."""

    def add_file(self, name: str) -> None:
        """Count a file that is no picture by its suffix; clutter is not counted."""
        path = PurePosixPath(name)
        if CLUTTER.intersection(path.parts) or path.name.startswith("._"):
            return
        suffix = path.suffix.lower()
        kind = "hidden file" if _is_hidden(path) else "archive" if suffix in ARCHIVES else suffix
        self[kind or "file without a suffix"] += 1

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {_plural(kind, count)}" for kind, count in sorted(self.items()) if count)


def _plural(kind: str, count: int) -> str:
    if count == 1 or kind.startswith("."):
        return kind
    return re.sub(r"(?= (?:to|of|without|beside) |$)", "s", kind, count=1)


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of pictures, in small letters: all that are usual for the formats that are read."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def is_picture(name: str) -> bool:
    """Whether a file of this name, with folders, counts as a picture; hidden ones and clutter do not."""
    return PurePosixPath(name).suffix.lower() in suffixes() and not is_hidden(name)


def is_text(name: str) -> bool:
    """Whether a file of this name, with folders, may hold captions."""
    return PurePosixPath(name).suffix.lower() in TEXTS and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name, with folders, is hidden or clutter."""
    path = PurePosixPath(name)
    return _is_hidden(path) or bool(CLUTTER.intersection(path.parts))


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)


def check_bytes(size: int) -> None:
    """Raise a UserError for a file of more than `MAX_BYTES`."""
    if size > MAX_BYTES:
        raise UserError(f"it has {size:,} bytes, but the limit is {MAX_BYTES:,}")


def decode_picture(content: bytes) -> Picture:
    """The picture in a file's bytes, as a viewer shows it.

    The bytes decide on the format, not the file's name. 16 bits are scaled to 8, colours of another profile are
    converted to sRGB, transparent ones composed on white, and EXIF's orientation is applied. Of several frames, the
    first is taken.

    Raises:
        OSError, ValueError: the picture cannot be read, or is too large.
    """
    if not content:
        raise UserError("the file is empty")
    check_bytes(len(content))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow: of sizes, which are checked here, and of odd metadata
        file = _open(content)
        # An MPO is a JPEG with further views of the scene behind it: viewers show it as a JPEG.
        notes = [FIRST_FRAME] if getattr(file, "is_animated", False) and file.format != "MPO" else []
        raw, turned = raw_mode(file), file.format == "TIFF" and _orientation(file) in TURNS
        file.load()  # which turns a TIFF
        turn = TURNS.get(_orientation(file))
        image, about_bits = to_eight_bits(file, raw, lambda: _open(content))
        image, about_colours = to_srgb(image, file.info)
        image, about_alpha = compose(image)
        if turn is not None:
            image, turned = image.transpose(turn), True
    notes += [about for about in (about_bits, about_colours, about_alpha) if about]
    return Picture(image, (*notes, TURNED) if turned else tuple(notes))


def _open(content: bytes) -> ImageFile:
    too_large = f"but the limit is {MAX_PIXELS:,}"
    try:
        image = Image.open(io.BytesIO(content), formats=[name for name in FORMATS if suffixes() and name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise UserError(f"it claims more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, {too_large}") from error
    except UnidentifiedImageError as error:
        raise UserError(f"it is none of {', '.join(FORMATS)}, or is damaged") from error
    if image.width * image.height > MAX_PIXELS:
        raise UserError(f"it has {image.width:,} x {image.height:,} pixels, {too_large}")
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF raises many kinds, and viewers show the picture all the same
        return 1
