"""Samples and numbers as pictures, pixel by pixel: PNG files, and `data:` addresses inside a page."""

import base64
import io
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image

from dmp_lightning.files import replacing

SHOWN = 64  # pixels of a side in a grid, at least
LARGEST = 128  # pixels of a side of a sample in a page; larger ones are made smaller
COLOUR_MAP = "viridis"  # equal steps look equal, without colour vision too


def write_picture(image: UInt8[np.ndarray, "C H W"], path: Path) -> None:
    """One image, grey (C = 1) or colour (C = 3)."""
    with replacing(path) as temporary:
        Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(temporary, "PNG")


def write_grid(images: UInt8[np.ndarray, "N *pixels"], path: Path) -> None:
    """Images (N, H, W) or (N, 3, H, W) row by row in about a square; small ones are enlarged, pixel by pixel."""
    images = images[:, None] if images.ndim == 3 else images
    zoom = math.ceil(SHOWN / images.shape[-1])
    images = images.repeat(zoom, axis=2).repeat(zoom, axis=3)
    write_picture(tiled(images, math.ceil(math.sqrt(len(images))), edge=1).transpose(2, 0, 1), path)


def mosaic(images: UInt8[np.ndarray, "N *pixels"], columns: int) -> str:
    """Images (N, H, W) or (N, 3, H, W) row by row, as the `data:` address of one picture, transparent between them."""
    tiles = []
    for image in in_colour(images):
        tile = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).convert("RGBA")
        tile.thumbnail((LARGEST, LARGEST))
        tiles.append(np.asarray(tile).transpose(2, 0, 1))
    return _address(tiled(np.stack(tiles), columns, max(1, tiles[0].shape[-1] // 32), blank=0))


def heat_map(values: Float[np.ndarray, "rows columns"], low: float, high: float) -> str:
    """A matrix as a picture's `data:` address, a pixel for each value, the first row on top; on a scale of colours."""
    scaled = (values - low) / (high - low)
    return _address(colormaps[COLOUR_MAP](np.clip(scaled, 0, 1), bytes=True)[..., :3])


def scale_of(values: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """Least and largest value; apart by a hundredth at least, so that rounding errors are not drawn as differences."""
    low, high = float(values.min()), float(values.max())
    margin = max(0.01 * max(abs(high), 1e-12) - (high - low), 0) / 2
    return low - margin, high + margin


def in_colour(images: UInt8[np.ndarray, "N *pixels"]) -> UInt8[np.ndarray, "N 3 H W"]:
    """Images (N, H, W) or (N, 3, H, W) with three channels."""
    return np.repeat(images[:, None], 3, axis=1) if images.ndim == 3 else images


def tiled(
    images: UInt8[np.ndarray, "N C H W"], columns: int, edge: int, blank: int = 255
) -> UInt8[np.ndarray, "rows columns C"]:
    """Images row by row, so many in a row, with `blank` pixels around each and where the last row has none."""
    rows = math.ceil(len(images) / columns)
    images = np.pad(
        images, [(0, rows * columns - len(images)), (0, 0), (edge, edge), (edge, edge)], constant_values=blank
    )
    _, channels, height, width = images.shape
    grid = images.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, columns * width, channels)


def _address(pixels: UInt8[np.ndarray, "H W C"]) -> str:
    with io.BytesIO() as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
