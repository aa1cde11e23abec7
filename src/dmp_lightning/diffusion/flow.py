"""Rectified flow: a straight path from data to noise, and a model that predicts its velocity."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dmp_lightning.diffusion.process import Losses, Output, Process, Samples
from dmp_lightning.diffusion.schedulers import REFUSALS
from dmp_lightning.user_error import UserError

TIMES = ("uniform", "logit_normal")
STEPS = 1000  # diffusers' flow schedulers count times from 0 to this
EDGE = 0.001  # of [0, 1]: beyond it the log SNR, which goes to infinity, stays as it is there


class Flow(Process):
    """Rectified flow (Liu et al. 2022, arXiv 2209.03003): `x_t = (1 - t) x0 + t noise`, and the velocity `noise - x0`.

    Times go from 0, data, to 1, noise.

    Args:
        times: how training draws them, `uniform` or `logit_normal` (Esser et al. 2024, arXiv 2403.03206, section 3.1):
            the sigmoid of a normal of that `mean` and `std`.
        shift: of all times, drawn or sampled, towards the noise, `shift t / (1 + (shift - 1) t)`: the square root of
            how many times more pixels pictures have (the same, equation 23); 1 leaves them.

    Raises:
        UserError: `times` is neither, or `std` or `shift` is not above 0.
    """

    predicts = "velocity"

    def __init__(
        self, times: str = "uniform", mean: int | float = 0.0, std: int | float = 1.0, shift: int | float = 1.0
    ) -> None:
        if times not in TIMES:
            raise UserError(f"diffusion.times={times} is unknown: choose {' or '.join(TIMES)}.")
        if not (std > 0 and shift > 0):
            raise UserError(f"diffusion.std={std} and diffusion.shift={shift}: choose numbers above 0.")
        self.times, self.mean, self.std, self.shift = times, mean, std, shift

    @property
    def options(self) -> dict[str, Any]:
        return {"times": self.times, "mean": self.mean, "std": self.std, "shift": self.shift}

    def draw(self, count: int, source: torch.Generator | None, device: torch.device) -> Float[Tensor, " B"]:
        return self._quantile(torch.rand(count, generator=source, device=device))

    def in_strata(self, offsets: Float[Tensor, "N S"]) -> Float[Tensor, "N S"]:
        """From parts that training draws equally often, so that over all strata times are distributed as there."""
        strata = offsets.shape[1]
        return self._quantile((torch.arange(strata) + offsets) / strata).float()

    def centres(self, strata: int) -> Float[Tensor, " S"]:
        return self._quantile((torch.arange(strata, dtype=torch.float64) + 0.5) / strata)

    def spread(self, count: int) -> Float[Tensor, " B"]:
        return torch.linspace(0, 1, count)

    def place(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return t

    def log_snr(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return -2 * torch.logit(t.float(), EDGE)

    def add_noise(self, x0: Samples, noise: Samples, t: Float[Tensor, " B"]) -> Samples:
        """Liu et al. 2022, equation 1."""
        t = t[:, None, None, None]
        return (1 - t) * x0 + t * noise

    def losses(self, output: Output, x0: Samples, x_t: Samples, noise: Samples, t: Float[Tensor, " B"]) -> Losses:
        """`mse`, the mean squared error of the velocity."""
        mse = (noise - x0 - output[:, : x0.shape[1]].float()).square().flatten(1).mean(1)
        return Losses(mse, {"mse": mse})

    def scheduler(self, build: Callable[..., Any], steps: int, respaced: bool) -> Any:
        """Respaced: equal steps from noise to data, then shifted, as the pipeline of Flux has them.

        A shift of the sampler's own beats that of the process.
        """
        if steps < 1:
            raise UserError(f"sampler.steps={steps}: choose 1 or more.")
        options: dict[str, Any] = {"shift": self.shift}
        if "flow_shift" in signature(getattr(build, "func", build)).parameters:  # solvers that know both kinds
            options = {"flow_shift": self.shift, "use_flow_sigmas": True, "prediction_type": "flow_prediction"}
        try:
            scheduler = build(num_train_timesteps=STEPS, **options | getattr(build, "keywords", {}))
            if respaced:
                scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
            else:
                scheduler.set_timesteps(steps)
        except REFUSALS as error:
            raise UserError(
                f"sampler.scheduler does not sample a flow ({error}): choose sampler=flow_euler, or with "
                "sampler.respaced=false dpm_solver or unipc."
            ) from error
        return scheduler

    def time(self, timestep: int | float) -> float:
        return timestep / STEPS

    def _quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The time that training draws with probability `u` below."""
        t = u if self.times == "uniform" else torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))
        return self.shift * t / (1 + (self.shift - 1) * t)
