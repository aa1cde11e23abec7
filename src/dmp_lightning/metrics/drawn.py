"""Samples by number: sample n is the same whatever the batch size and the number of processes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.guidance import Model, guide
from dmp_lightning.diffusion.process import Process
from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.draws import Stream, generators, normal

Samples = Float[Tensor, "B C H W"]
Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Drawing:
    """How samples of a base, or of a method on it, are drawn.

    Args:
        process: that the model was trained on.
        guidance: arguments of `guide`.
        batch_size: samples drawn at a time.
        decode: from latents to images in [-1, 1]; None where the samples are images.
        dtype: that the model computes in, by autocast; None leaves that to the caller.
    """

    process: Process
    sampler: Sampler
    guidance: Mapping[str, Any]
    batch_size: int
    decode: Decode | None = None
    dtype: torch.dtype | None = None

    def check(self, method: Any) -> None:
        """Make sure, before any work, that samples of this method can be drawn.

        Raises:
            UserError: the sampler does not fit the process, or the guidance the model.
        """
        self.sampler.prepare(self.process)
        self._guided(method)

    def draw(
        self, method: Any, conditions: Condition, numbers: Sequence[int], seed: int
    ) -> Iterator[tuple[list[int], Samples]]:
        """Samples of these numbers of a `Method` in eval mode, in batches, each with its numbers; see `generate`."""
        return generate(
            self._guided(method),
            self.sampler,
            self.process,
            method.backbone.sample_shape,
            conditions,
            numbers,
            seed,
            self.batch_size,
            next(method.parameters()).device,
            self.decode,
        )

    def _guided(self, method: Any) -> Model:
        def model(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            with torch.autocast(x.device.type, self.dtype) if self.dtype else nullcontext():
                return method(x, t, condition).output.to(x.dtype)

        return guide(model, method.backbone.null_condition(), self.process, **self.guidance)


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
