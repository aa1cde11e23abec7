"""Pixels: small images held in memory that are modelled themselves, and 8-bit values of what a model gives."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.source import Stored
from dmp_lightning.folders import user_cache
from dmp_lightning.user_error import UserError


class PixelSource:
    """Grey images `pixels` (N, 1, H, W) in [-1, 1], and their `labels` (N,), as a `Source`."""

    mirrors = 1
    moments = False

    def __init__(
        self, pixels: Float[Tensor, "N 1 H W"], labels: Int[Tensor, " N"], num_classes: int, fingerprint: str
    ) -> None:
        self.pixels, self.labels, self.num_classes = pixels, labels, num_classes
        self.sample_shape = (1, pixels.shape[2], pixels.shape[3])
        self.fingerprint = f"{fingerprint}-{len(self)}"
        self.cache = user_cache()

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Sequence[int], mirrored: Sequence[int] | None = None) -> Stored:
        chosen = torch.as_tensor(indices)
        return Stored(self.pixels[chosen], Condition(self.labels[chosen]))

    def draw(self, x: Float[Tensor, "B 1 H W"], noise: Tensor | None = None) -> Float[Tensor, "B 1 H W"]:
        return x

    def images(self, batch_size: int) -> Iterator[UInt8[Tensor, "B 1 H W"]]:
        for pixels in self.pixels.split(batch_size):
            yield to_uint8(pixels)

    def decode(self, x: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
        return x


def to_uint8(images: Float[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
    """Images in [-1, 1] as 8-bit values: rounded to the nearest of 256 levels, values outside clamped.

    Raises:
        UserError: a value is not a number; as an image it would pass for a black pixel.
    """
    if images.isnan().any():
        raise UserError("The samples hold values that are not numbers: the model has diverged, lower its rates.")
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
