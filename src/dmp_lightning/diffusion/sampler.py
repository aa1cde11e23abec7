"""Sampling through diffusers' schedulers."""

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor

from dmp_lightning.diffusion.process import Process

Model = Callable[[Float[Tensor, "B C H W"], Num[Tensor, " B"]], Float[Tensor, "B C2 H W"]]


class Sampler:
    """From noise to samples in a number of steps.

    Args:
        scheduler: builds a scheduler of diffusers; the process calls it with its schedule.
        steps: calls of the model for each sample.
        respaced: visit the timesteps of the DiT release, see `respaced_timesteps`, or, of a flow, equal steps; else the
            scheduler spaces its own. Multistep solvers should: they extrapolate, and the last of the release's steps is
            much the largest in log SNR.
    """

    def __init__(self, scheduler: Callable[..., Any], steps: int, respaced: bool = False) -> None:
        self.build_scheduler, self.steps, self.respaced = scheduler, steps, respaced

    @torch.no_grad()
    def sample(
        self,
        model: Model,
        process: Process,
        noise: Float[Tensor, "B C H W"],
        sources: list[torch.Generator],
        progress: Callable[[Iterable[float]], Iterable[float]] = iter,
    ) -> Float[Tensor, "B C H W"]:
        """Samples that start from standard normal `noise`, at the noise's precision.

        Args:
            model: `model(x, t)` gives the model's output at times `t` (B,).
            process: that the model was trained on.
            sources: one generator for each sample: all noise that steps add to sample n comes from `sources[n]`.
            progress: wraps the times to show a bar.

        Raises:
            UserError: see `prepare`.
        """
        scheduler = self.prepare(process)
        extra = {"generator": sources} if "generator" in signature(scheduler.step).parameters else {}
        x = noise
        for t in progress(scheduler.timesteps.tolist()):
            output = model(x, torch.full((len(x),), process.time(t), device=x.device)).to(x.dtype)
            x = scheduler.step(process.for_scheduler(output, x.shape[1], scheduler), t, x, **extra).prev_sample
        return x

    def prepare(self, process: Process) -> Any:
        """A fresh scheduler with its timesteps set.

        Raises:
            UserError: see `Process.scheduler`.
        """
        return process.scheduler(self.build_scheduler, self.steps, self.respaced)
