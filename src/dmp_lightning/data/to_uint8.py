"""Between the model's range and the 8-bit values that pictures and features are made of."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_uint8(images: Float[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
    """Images in [-1, 1] as 8-bit values: rounded to the nearest of 256 levels, values outside clamped.

    Raises:
        ValueError: a value is not a number; as an image it would pass for a black pixel.
    """
    if images.isnan().any():
        raise ValueError("The samples hold values that are not numbers: the model has diverged, lower its rates.")
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
