"""Random latents in the shape of real ones, for a dry run of a full-size model."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from dmp_lightning.data.pixels import PixelSource

THUMBNAIL = 8  # side of the pictures that stand in for decoded images


class SyntheticLatents(PixelSource):
    """Standard normal latents (C, H, W); they decode to thumbnails of their first three channels."""

    def __init__(self, sample_shape: Sequence[int], count: int, num_classes: int) -> None:
        latents = torch.randn(count, *sample_shape, generator=torch.Generator().manual_seed(0))
        name = f"synthetic-{'x'.join(map(str, sample_shape))}"
        super().__init__(latents, torch.arange(count) % num_classes, num_classes, name)

    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 3 8 8"]:
        return F.adaptive_avg_pool2d(x[:, :3], THUMBNAIL).clamp(-1, 1)
