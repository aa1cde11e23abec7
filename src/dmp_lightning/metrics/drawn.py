"""Samples by number: sample n is the same whatever the batch size and the number of processes."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.process import Process
from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.draws import Stream, generators, normal

Samples = Float[Tensor, "B C H W"]
Model = Callable[[Tensor, Tensor, Condition], Tensor]
Decode = Callable[[Tensor], Tensor]


def generate(
    model: Model,
    sampler: Sampler,
    process: Process,
    shape: Sequence[int],
    conditions: Condition,
    indices: Sequence[int],
    seed: int,
    batch_size: int,
    device: torch.device | str = "cpu",
    decode: Decode | None = None,
) -> Iterator[tuple[list[int], Samples]]:
    """Yield the samples `indices` in batches, each with its indices, without gradients.

    The noise of sample n, the first and that of every step, depends on `seed` and n alone; its condition is row n of
    `conditions`, modulo their number.

    Args:
        model: `model(x, t, condition)`, guided by the caller if it should be, and in eval mode.
        process: that the model was trained on. shape: (C, H, W) of a sample.
        conditions: to use in turn, `backbone.conditions()` for all.
        decode: from latents to images in [-1, 1]; None if the samples are images.
    """
    for start in range(0, len(indices), batch_size):
        batch = list(indices[start : start + batch_size])
        condition = conditions.take(batch).to(device)
        sources = generators(seed, Stream.GENERATION, batch)
        with torch.no_grad():  # closed before the yield: the caller's own work keeps its gradients
            noise = normal(sources, tuple(shape)).to(device)
            samples = sampler.sample(_under(model, condition), process, noise, sources)
            images = decode(samples) if decode else samples
        yield batch, images


def _under(model: Model, condition: Condition) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, t: model(x, t, condition)
