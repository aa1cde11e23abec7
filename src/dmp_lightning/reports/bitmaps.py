"""Numbers and samples as small PNG pictures inside a page, pixel by pixel; the page enlarges them."""

import base64
import io
import math

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image

LARGEST = 128  # pixels of a side of a sample in a page; larger ones are made smaller
COLOUR_MAP = "viridis"  # equal steps look equal, without colour vision too


def heat_map(values: Float[np.ndarray, "rows columns"], low: float, high: float) -> str:
    """A matrix as a picture's `data:` address, a pixel for each value, the first row on top; on a scale of colours."""
    scaled = (values - low) / (high - low)
    colours = colormaps[COLOUR_MAP](np.clip(scaled, 0, 1), bytes=True)[..., :3]
    return _address(Image.fromarray(np.ascontiguousarray(colours)))


def scale_of(*values: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """Least and largest value; apart by a hundredth at least, so that what is alike looks alike."""
    low, high = min(float(value.min()) for value in values), max(float(value.max()) for value in values)
    margin = max(0.01 * max(abs(high), 1e-12) - (high - low), 0) / 2
    return low - margin, high + margin


def mosaic(images: UInt8[np.ndarray, "N *pixels"], columns: int) -> str:
    """Images (N, H, W) or (N, 3, H, W) row by row, as the `data:` address of one picture, transparent between them."""
    images = images[:, None] if images.ndim == 3 else images
    images = np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images
    tiles = [_smaller(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))) for image in images]
    width, height = tiles[0].size
    gap = max(1, width // 16)
    rows = math.ceil(len(tiles) / columns)
    picture = Image.new("RGBA", (columns * (width + gap) - gap, rows * (height + gap) - gap))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        picture.paste(tile, (column * (width + gap), row * (height + gap)))
    return _address(picture)


def _smaller(image: Image.Image) -> Image.Image:
    image.thumbnail((LARGEST, LARGEST))
    return image


def _address(picture: Image.Image) -> str:
    with io.BytesIO() as file:
        picture.save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
