"""Pictures of any depth in 8 bits a channel. Pillow itself cuts off the lower bits, and ignores transparent colours."""

import sys
from collections.abc import Callable

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from dmp_lightning.user_error import UserError

SCALED = "scaled to 8 bits"

DEPTHS, PHOTOMETRIC, PLANAR = 258, 262, 284
"""Tags of a TIFF."""

OTHER_BYTES = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""The opposite byte order: Pillow keeps only the higher byte of 16 bits, so this order yields the lower one."""


def raw_mode(image: ImageFile) -> str:
    """Pillow's name for the layout of an image's data; only known until the image is loaded."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def to_eight_bits(image: Image.Image, raw: str, reopen: Callable[[], ImageFile]) -> tuple[Image.Image, str | None]:
    """The image in 8 bits, and a note if its values were scaled.

    A value of 16 bits is divided by 257, one of 12 bits by 4095 / 255, a float of 0 to 1 is multiplied by 255, and
    rounded. A single colour that counts as transparent becomes an alpha channel.

    Args:
        image: a loaded one. raw: its `raw_mode`. reopen: opens it again, not loaded.

    Raises:
        UserError: a viewer could not know the range of its values.
    """
    values, largest = _values(image, raw, reopen)
    if values is None:
        return image, None
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0 and image.mode.startswith("I;16"):
        values = largest - values  # TIFF's WhiteIsZero, which Pillow heeds for 8 bits alone
    shown = values
    if largest == 1:
        shown = (values * 255 + 0.5).astype(np.uint8)
    elif largest != 255:
        shown = ((values * 255 + largest // 2) // largest).astype(np.uint8)
    key = image.info.get("transparency")
    if key is not None and shown.shape[2] in (1, 3):
        if raw in ("L;2", "L;4"):
            key *= 255 // (2 ** int(raw[2]) - 1)  # given in the file's bits, unlike the values
        alpha = 255 * (values != np.array(key)).any(-1, keepdims=True)
        shown = np.concatenate([shown, alpha.astype(np.uint8)], -1)
    mode = ("L", "LA", "RGB", "RGBA")[shown.shape[2] - 1]
    result = Image.fromarray(np.ascontiguousarray(shown.squeeze(-1) if mode == "L" else shown), mode)
    return result, SCALED if largest != 255 else None


def _values(image: Image.Image, raw: str, reopen: Callable[[], ImageFile]) -> tuple[np.ndarray | None, int]:
    """Values (H, W, C) and the one that is white; or None if Pillow's own 8 bits will do."""
    tags = getattr(image, "tag_v2", {})
    mode, one = image.mode, lambda: np.asarray(image)[..., None]
    if tags.get(PLANAR) == 2 and any(bits > 8 for bits in tags.get(DEPTHS, ())):
        raise UserError("it stores more than 8 bits in separate planes, which Pillow misreads: save it again")
    if mode == "F":
        if not (one().min() >= 0 and one().max() <= 1):  # nor numbers at all
            raise UserError("it holds floating-point values outside of 0 to 1: save it in 8 or 16 bits")
        return one(), 1
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        return one().astype(np.uint32), 4095 if raw == "I;12" else 65535
    if mode == "I":
        raise UserError("it holds signed or 32-bit integers, whose range is unknown: save it in 8 or 16 bits")
    name, _, bits = raw.partition(";")
    if name in ("RGB", "RGBX", "RGBA", "LA") and bits[:2] == "16":
        return _of_16_bits(np.asarray(image).astype(np.uint32), name, bits, reopen), 65535
    if "transparency" in image.info and mode in ("1", "L", "RGB"):
        values = np.asarray(image.convert("L") if mode == "1" else image)
        return values.reshape(*values.shape[:2], -1), 255
    return None, 255


def _of_16_bits(high: np.ndarray, name: str, bits: str, reopen: Callable[[], ImageFile]) -> np.ndarray:
    again = reopen()
    other = "RGBA" if name == "LA" else f"{name};16{OTHER_BYTES[bits[2]]}"  # LA has no other: all bytes in turn
    again.tile = [
        tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other) for tile in again.tile
    ]
    low = np.asarray(again).astype(np.uint32)
    if name == "LA":
        return low[..., ::2] * 256 + low[..., 1::2]
    return high * 256 + low
