"""Random latents in the shape of real ones, for a dry run of a full-size model."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from dmp_lightning.condition import Condition
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.data.source import Stored
from dmp_lightning.folders import user_cache

THUMBNAIL = 8  # side of the pictures that stand in for decoded images


class SyntheticLatents:
    """Standard normal latents (C, H, W); they decode to thumbnails of their first three channels."""

    mirrors = 1
    moments = False

    def __init__(self, sample_shape: Sequence[int], count: int, num_classes: int) -> None:
        channels, height, width = sample_shape
        self.sample_shape = (channels, height, width)
        self.num_classes = num_classes
        self.cache = user_cache()
        self.fingerprint = f"synthetic-{'x'.join(map(str, sample_shape))}-{count}"
        self.latents = torch.randn(count, *self.sample_shape, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.latents)

    def read(self, indices: Sequence[int], mirrored: Sequence[int] | None = None) -> Stored:
        chosen = torch.as_tensor(indices)
        return Stored(self.latents[chosen], Condition(chosen % self.num_classes))

    def draw(self, x: Float[Tensor, "B C H W"], noise: Tensor | None = None) -> Float[Tensor, "B C H W"]:
        return x

    def images(self, batch_size: int) -> Iterator[UInt8[Tensor, "B 3 8 8"]]:
        for latents in self.latents.split(batch_size):
            yield to_uint8(self.decode(latents))

    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 3 8 8"]:
        return F.adaptive_avg_pool2d(x[:, :3], THUMBNAIL).clamp(-1, 1)
