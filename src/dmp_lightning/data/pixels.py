"""Small images that are held in memory, and whose pixels are what is modelled."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.cache import user_cache
from dmp_lightning.data.source import Stored
from dmp_lightning.data.to_uint8 import to_uint8


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
