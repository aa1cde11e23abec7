"""Random latents and conditions in the shape of real ones, to try a model without data."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from dmp_lightning.condition import Condition
from dmp_lightning.data.pixels import PixelSource
from dmp_lightning.data.source import Stored

THUMBNAIL = 8  # side of the pictures that stand in for decoded images


class SyntheticLatents(PixelSource):
    """Standard normal latents (C, H, W); they decode to thumbnails of their first three channels."""

    def __init__(self, sample_shape: Sequence[int], count: int, num_classes: int) -> None:
        latents = torch.randn(count, *sample_shape, generator=torch.Generator().manual_seed(0))
        name = f"synthetic-{'x'.join(map(str, sample_shape))}"
        super().__init__(latents, torch.arange(count) % num_classes, num_classes, name)

    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 8 8"]:
        return F.adaptive_avg_pool2d(x[:, :3], THUMBNAIL).clamp(-1, 1)


class SyntheticConditions(SyntheticLatents):
    """Standard normal latents under random conditions, the same each time; no text in them is empty.

    Args:
        shapes: the shape of one sample's part of each tensor of a condition, by name; of a label the number of classes.
        sampled: how many of the conditions samples are drawn under.
    """

    def __init__(
        self, sample_shape: Sequence[int], count: int, shapes: Mapping[str, Sequence[int]], sampled: int = 4
    ) -> None:
        super().__init__(sample_shape, count, 1)
        del self.num_classes  # conditions of any kind
        source = torch.Generator().manual_seed(1)
        drawn = Condition(**{name: _drawn(name, shape, count + 1, source) for name, shape in shapes.items()})
        self.known, self.null = drawn.take(slice(count)), drawn.take(slice(count, count + 1))
        if "label" in shapes:
            self.null = Condition(torch.tensor([shapes["label"][0]]))
        self.conditions = self.known.take(slice(min(sampled, count)))

    def read(self, indices: Sequence[int], versions: Sequence[int] | None = None) -> Stored:
        return Stored(super().read(indices, versions).x, self.known.take(indices))


def _drawn(name: str, shape: Sequence[int], count: int, source: torch.Generator) -> Tensor:
    if name == "label":
        return torch.arange(count) % shape[0]
    if name.startswith("mask"):
        lengths = torch.randint(1, shape[0] + 1, (count, 1), generator=source)
        return torch.arange(shape[0]) < lengths
    return torch.randn(count, *shape, generator=source)
