"""Colours as a viewer shows them: in sRGB from any mode and profile, on white if they are transparent."""

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, features

BACKGROUND = "white"
COMPOSED = f"composed on {BACKGROUND}"
CONVERTED = "converted to sRGB from another profile"
DAMAGED = "taken as sRGB, as their profile is damaged or of another kind of colours"
NO_CMS = "taken as sRGB, as this Pillow has no littlecms to convert their profile"

SIMILAR = 0.05
"""PNG's exponents within 5% of sRGB's count as equal, as in libpng."""

SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""The names of Pillow's modes in profiles."""


def to_srgb(image: Image.Image, about: Mapping[Any, Any]) -> tuple[Image.Image, str | None]:
    """The image in mode L, LA, RGB or RGBA, of sRGB, and a note if its colours were converted or cannot be.

    Args:
        about: Pillow's `info` of the file, with its ICC profile, or PNG's exponent `gamma`. Without either, colours are
            taken as sRGB, as in browsers.
    """
    (colours, alpha), note = _split(image), None
    profile, exponent = about.get("icc_profile"), about.get("gamma")
    if profile and image.mode != "LAB":  # whose colours are known
        transform, note = _transform(profile, colours.mode)
        if transform is not None:
            converted = transform.apply(colours.convert(transform.input_mode))
            colours = converted.convert("L") if colours.mode == "L" else converted
    elif exponent and "srgb" not in about and abs(2.2 * exponent - 1) > SIMILAR:
        levels = [round(255 * (level / 255) ** (1 / (2.2 * exponent))) for level in range(256)]
        colours, note = colours.point(levels * len(colours.getbands())), CONVERTED
    colours = colours if colours.mode == "L" else colours.convert("RGB")
    if alpha is not None:
        colours.putalpha(alpha)
    return colours, note


def compose(image: Image.Image) -> tuple[Image.Image, str | None]:
    """An image of mode LA or RGBA on white, in mode L or RGB; and a note, unless it was opaque."""
    if image.mode in ("L", "RGB"):
        return image, None
    alpha, colours = image.getchannel("A"), image.convert(image.mode[:-1])
    if alpha.getextrema()[0] == 255:
        return colours, None
    return Image.composite(colours, Image.new(colours.mode, colours.size, BACKGROUND), alpha), COMPOSED


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in mode L, RGB or CMYK, and the alpha channel."""
    if image.mode in ("1", "L", "CMYK"):
        return (image.convert("L") if image.mode == "1" else image), None
    if image.mode == "LAB":
        lab = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        return lab.apply(image), None
    if image.mode in ("LA", "La"):
        image = image.convert("LA")
        return image.getchannel("L"), image.getchannel("A")
    if image.has_transparency_data or image.mode == "RGBa":
        image = image.convert("RGBA")
        return image.convert("RGB"), image.getchannel("A")
    return image.convert("RGB"), None


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> tuple[ImageCms.ImageCmsTransform | None, str | None]:
    """The conversion from a profile to sRGB, if one is needed, and the note on it."""
    if not features.check("littlecms2"):
        return None, NO_CMS
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "L" and given.profile.xcolor_space.strip() == "RGB":
            mode = "RGB"  # grey is a colour too
        if given.profile.xcolor_space.strip() != SPACES[mode]:
            return None, DAMAGED
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(given))
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB", intent)
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None, DAMAGED
    if mode == "CMYK":
        return transform, CONVERTED
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = (
        levels[:, None]
        if mode == "L"
        else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(len(levels), -1, 3)
    )
    before = Image.fromarray(cube)
    after = transform.apply(before)
    change = np.abs(np.asarray(after).astype(int) - np.asarray(before.convert("RGB"))).max()
    return (transform, CONVERTED) if change > 2 else (None, None)  # else sRGB, under any name
