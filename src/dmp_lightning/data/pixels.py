"""Small data sets held in memory, and the 8-bit images of any data set."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.source import Source, Stored
from dmp_lightning.folders import user_cache
from dmp_lightning.user_error import UserError


class PixelSource:
    """A `Source` of images `pixels` (N, C, H, W) in [-1, 1] and their `labels` (N,), modelled as they are.

    `fingerprint` names the content, see `Source`; the number of images is added to it.
    """

    versions = 1
    moments = False

    def __init__(
        self, pixels: Float[Tensor, "N C H W"], labels: Int[Tensor, " N"], num_classes: int, fingerprint: str
    ) -> None:
        self.pixels, self.labels, self.num_classes = pixels, labels, num_classes
        self.sample_shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
        self.fingerprint = f"{fingerprint}-{len(self)}"
        self.cache = user_cache()

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Sequence[int], versions: Sequence[int] | None = None) -> Stored:
        chosen = torch.as_tensor(indices)
        return Stored(self.pixels[chosen], Condition(self.labels[chosen]))

    def draw(self, x: Float[Tensor, "B C H W"], noise: Tensor | None = None) -> Float[Tensor, "B C H W"]:
        return x

    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        return x


def to_uint8(images: Float[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
    """Images in [-1, 1] as 8-bit values: rounded to the nearest of 256 levels, values outside clamped.

    Raises:
        UserError: a value is not a number; as an image it would pass for a black pixel.
    """
    if images.isnan().any():
        raise UserError("The samples contain NaN: the model has diverged, lower recipe.learning_rates.")
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def images_at(source: Source, indices: Sequence[int], device: torch.device | str = "cpu") -> UInt8[Tensor, "B C H W"]:
    """Images of a data set, decoded on a device; of moments, those of the means."""
    return to_uint8(source.decode(source.draw(source.read(indices).x.to(device))))


def all_images(source: Source, batch_size: int) -> Iterator[UInt8[Tensor, "_ C H W"]]:
    """All images of a data set in order, in batches."""
    for start in range(0, len(source), batch_size):
        yield images_at(source, range(start, min(start + batch_size, len(source))))
