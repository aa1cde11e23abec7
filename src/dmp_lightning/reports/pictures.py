"""Images as they are, pixel by pixel, in PNG files."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dmp_lightning.files import replacing

SHOWN = 64  # pixels of a side in a grid, at least


def write_picture(image: UInt8[np.ndarray, "C H W"], path: Path) -> None:
    """One image, grey (C = 1) or colour (C = 3)."""
    with replacing(path) as temporary:
        Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(temporary, "PNG")


def write_grid(images: UInt8[np.ndarray, "N *pixels"], path: Path) -> None:
    """Images (N, H, W) or (N, 3, H, W) row by row in about a square; small ones are enlarged, pixel by pixel."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    if images.ndim == 3:
        images = images[:, None]
    zoom = math.ceil(SHOWN / images.shape[-1])
    images = images.repeat(zoom, axis=2).repeat(zoom, axis=3)
    images = np.pad(images, [(0, rows * columns - len(images)), (0, 0), (1, 1), (1, 1)], constant_values=255)
    _, channels, height, width = images.shape
    grid = images.reshape(rows, columns, channels, height, width).transpose(2, 0, 3, 1, 4)
    write_picture(grid.reshape(channels, rows * height, columns * width), path)
