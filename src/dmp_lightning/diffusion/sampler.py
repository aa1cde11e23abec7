"""Sampling through diffusers' schedulers, at the timesteps and with the precision of the DiT release."""

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Model = Callable[[Float[Tensor, "B C H W"], Int[Tensor, " B"]], Float[Tensor, "B C2 H W"]]


class Sampler:
    """From noise to samples in a number of steps.

    Args:
        scheduler: builds a scheduler of diffusers from `num_train_timesteps` and `trained_betas`.
        steps: calls of the model for each sample.
        respaced: visit the timesteps of the DiT release, see `respaced_timesteps`; else the scheduler spaces its own.
            Multistep solvers should: they extrapolate, and the last of these steps is much the largest in log SNR.
    """

    def __init__(self, scheduler: Callable[..., Any], steps: int, respaced: bool = False) -> None:
        self.build_scheduler, self.steps, self.respaced = scheduler, steps, respaced

    @torch.no_grad()
    def sample(
        self,
        model: Model,
        betas: Float[Tensor, " steps"],
        noise: Float[Tensor, "B C H W"],
        sources: list[torch.Generator],
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> Float[Tensor, "B C H W"]:
        """Samples that start from standard normal `noise`, at the noise's precision.

        Args:
            model: `model(x, t)`: epsilon, then the variance interpolation, along the channels; `t` (B,) from 0.
            betas: (steps,) float64, of the schedule that the model was trained on.
            sources: one generator a sample: whatever noise the steps add to sample n comes from `sources[n]` alone.
            progress: wraps the timesteps to show a bar.

        Raises:
            ValueError: the schedule does not have that many steps, or `respaced` does not go with the scheduler.
        """
        scheduler = self.prepare(betas)
        learns_variance = scheduler.config.get("variance_type") == "learned_range"
        extra = {"generator": sources} if "generator" in signature(scheduler.step).parameters else {}
        x = noise
        for t in progress(scheduler.timesteps.tolist()):
            output = model(x, torch.full((len(x),), t, device=x.device)).to(x.dtype)
            if not learns_variance:
                output = output[:, : x.shape[1]]
            x = scheduler.step(output, t, x, **extra).prev_sample
        return x

    def prepare(self, betas: Float[Tensor, " steps"]) -> Any:
        """A fresh scheduler with its timesteps set (multistep solvers keep a history).

        Raises:
            ValueError: the schedule does not have that many steps, or `respaced` does not go with the scheduler.
        """
        fewest, most = (2, len(betas)) if self.respaced else (1, len(betas) - 1)
        if not fewest <= self.steps <= most:
            raise ValueError(
                f"sampler.steps={self.steps} does not fit a schedule of {len(betas)} timesteps: "
                f"choose {fewest} to {most} for this sampler."
            )
        scheduler = self.build_scheduler(num_train_timesteps=len(betas), trained_betas=betas.numpy())
        # Diffusers multiplies a thousand alphas in float32, and subtracts the small noise of early timesteps from 1.
        scheduler.alphas_cumprod = (1 - betas).cumprod(0)
        if not self.respaced:
            scheduler.set_timesteps(self.steps)
        elif "timesteps" in signature(scheduler.set_timesteps).parameters:
            scheduler.set_timesteps(timesteps=respaced_timesteps(self.steps, len(betas)))
        else:
            raise ValueError(
                f"{type(scheduler).__name__} chooses its own timesteps: set sampler.respaced=false for it."
            )
        return scheduler


def respaced_timesteps(steps: int, length: int) -> list[int]:
    """The timesteps that the DiT release visits, descending: evenly spaced, both ends of the schedule included."""
    return np.linspace(length - 1, 0, steps).round().astype(int).tolist()
