"""The Markov chain of noise, and its objectives: epsilon with or without the variance (DiT), or v."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from dmp_lightning.diffusion.process import Losses, Output, Process, Samples
from dmp_lightning.diffusion.schedule import Schedule
from dmp_lightning.diffusion.schedulers import prepared
from dmp_lightning.diffusion.weighting import OF_EPSILON, constant
from dmp_lightning.user_error import UserError

PREDICTS = ("epsilon_and_variance", "epsilon", "v")


class Posterior(NamedTuple):
    """One ancestral step: `x_{t-1} ~ N(mean, exp(log_variance))`, each (B, C, H, W), and the implied clean sample."""

    mean: Samples
    log_variance: Samples
    pred_xstart: Samples


class DDPM(Process):
    """A Markov chain of noise, and a model that predicts the noise, or v.

    Times are the chain's timesteps, whole numbers from 0. The prediction is trained by `mse`, its mean squared error,
    and the variance by `vb`, the variational bound in bits per dimension.

    Args:
        betas: (steps,) float64, see `schedule`.
        loss_weight: weight of each timestep's `mse` as a function of the SNR, see `weighting`.
        predicts: `epsilon_and_variance` (DiT: the noise, and a learned-range variance); `epsilon` alone; or `v`,
            `signal * noise - sigma * x0` (Salimans and Ho 2022, arXiv 2202.00512, appendix D).

    Raises:
        UserError: `predicts` is none of these, or `betas` or `loss_weight` do not go with it.
    """

    def __init__(
        self,
        betas: Float[Tensor, " steps"],
        loss_weight: Callable[[Float[Tensor, " steps"]], Float[Tensor, " steps"]] = constant,
        predicts: str = PREDICTS[0],
    ) -> None:
        if predicts not in PREDICTS:
            raise UserError(f"diffusion.predicts={predicts} is unknown: choose {', '.join(PREDICTS)}.")
        self.schedule, self.loss_weight, self.predicts = Schedule(betas), loss_weight, predicts
        if predicts != "v" and self.schedule.signal[-1] == 0:
            raise UserError("No signal is left at the last timestep of diffusion.betas: set diffusion.predicts=v.")
        if predicts == "v" and getattr(loss_weight, "func", loss_weight) in OF_EPSILON:
            raise UserError("This loss_weight is made for the loss of epsilon: for v choose constant or min_snr_v.")
        self._weights = loss_weight(self.schedule.snr).float()
        self._log_snr = self.schedule.log_snr.float()  # a compiled model reads it: no cache that changes under it

    @property
    def options(self) -> dict[str, Any]:
        return {"betas": self.schedule.betas, "loss_weight": self.loss_weight, "predicts": self.predicts}

    def draw(self, count: int, source: torch.Generator | None, device: torch.device) -> Int[Tensor, " B"]:
        return torch.randint(self.schedule.steps, (count,), generator=source, device=device)

    def in_strata(self, offsets: Float[Tensor, "N S"]) -> Int[Tensor, "N S"]:
        """Drawn on a continuous scale and then rounded down: the parts need not divide the steps, and over all strata
        every timestep is as likely as another.
        """
        steps, strata = self.schedule.steps, offsets.shape[1]
        t = ((torch.arange(strata) + offsets) * steps / strata).long()
        return t.clamp(max=steps - 1)  # an offset just below 1 may round up to the end

    def centres(self, strata: int) -> Float[Tensor, " S"]:
        return (torch.arange(strata, dtype=torch.float64) + 0.5) * self.schedule.steps / strata

    def spread(self, count: int) -> Int[Tensor, " B"]:
        return torch.linspace(0, self.schedule.steps - 1, count).round().long()

    def place(self, t: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        return t / (self.schedule.steps - 1)

    def log_snr(self, t: Num[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Between two timesteps, where some schedulers of diffusers go, it is interpolated."""
        known = self._log_snr.to(t.device)
        if not t.is_floating_point():
            return known[t]
        t = t.clamp(0, self.schedule.steps - 1)
        return torch.lerp(known[t.floor().long()], known[t.ceil().long()], (t - t.floor()).float())

    def scheduler(self, build: Callable[..., Any], steps: int, respaced: bool) -> Any:
        prediction = "v_prediction" if self.predicts == "v" else "epsilon"
        scheduler = prepared(build, self.schedule.betas, steps, respaced, prediction)
        if _takes_variance(scheduler) and self.predicts != "epsilon_and_variance":
            raise UserError(
                f"sampler.scheduler.variance_type=learned_range needs a model of diffusion.predicts={PREDICTS[0]}, not "
                f"{self.predicts}: choose sampler.scheduler.variance_type=fixed_large, or another sampler."
            )
        return scheduler

    def for_scheduler(self, output: Output, channels: int, scheduler: Any) -> Float[Tensor, "B C3 H W"]:
        """The prediction, and the variance's interpolation if the scheduler takes it."""
        return output if _takes_variance(scheduler) else output[:, :channels]

    def add_noise(self, x0: Samples, noise: Samples, t: Int[Tensor, " B"]) -> Samples:
        """Ho et al. 2020, equation 4."""
        return self.schedule.at("signal", t) * x0 + self.schedule.at("sigma", t) * noise

    def posterior(self, output: Output, x_t: Samples, t: Int[Tensor, " B"]) -> Posterior:
        """The model's ancestral step from `x_t` (Nichol and Dhariwal 2021, equation 15 for the variance)."""
        epsilon, interpolation = output.chunk(2, dim=1)
        at = self.schedule.at
        x0 = (x_t - at("sigma", t) * epsilon) / at("signal", t)
        fraction = (interpolation + 1) / 2
        log_variance = fraction * at("log_betas", t) + (1 - fraction) * at("posterior_log_variance", t)
        return Posterior(at("posterior_x0", t) * x0 + at("posterior_xt", t) * x_t, log_variance, x0)

    def losses(self, output: Output, x0: Samples, x_t: Samples, noise: Samples, t: Int[Tensor, " B"]) -> Losses:
        """The weighted `mse`, plus `vb` for a learned variance; the bound trains that alone, its mean is detached."""
        output, channels, at = output.float(), x0.shape[1], self.schedule.at
        predicted, rest = output[:, :channels], output[:, channels:]
        target = at("signal", t) * noise - at("sigma", t) * x0 if self.predicts == "v" else noise
        mse = (target - predicted).square().flatten(1).mean(1)
        weighted = self._weights.to(t.device)[t] * mse
        if self.predicts != "epsilon_and_variance":
            return Losses(weighted, {"mse": mse})
        if rest.shape != x0.shape:
            raise UserError(
                f"The model gives {output.shape[1]} channels for samples of {channels}, which is no noise with its "
                "variance: choose a process with diffusion.predicts=epsilon."
            )
        vb = self._bound(torch.cat([predicted.detach(), rest], dim=1), x0, x_t, t)
        return Losses(weighted + vb, {"mse": mse, "vb": vb})

    def _bound(self, output: Output, x0: Samples, x_t: Samples, t: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        mean, log_variance, _ = self.posterior(output, x_t, t)
        at = self.schedule.at
        true_mean = at("posterior_x0", t) * x0 + at("posterior_xt", t) * x_t
        true_log_variance = at("posterior_log_variance", t)
        divergence = 0.5 * (
            log_variance
            - true_log_variance
            - 1
            + (true_log_variance - log_variance).exp()
            + (true_mean - mean).square() * (-log_variance).exp()
        )
        likelihood = -_discretised_log_likelihood(x0, mean, 0.5 * log_variance)
        nats = torch.where(t == 0, likelihood.flatten(1).mean(1), divergence.flatten(1).mean(1))
        return nats / math.log(2)


def _takes_variance(scheduler: Any) -> bool:
    return scheduler.config.get("variance_type") == "learned_range"


def _discretised_log_likelihood(x: Samples, mean: Samples, log_scale: Samples) -> Samples:
    """Log probability of 8-bit values in [-1, 1] under a normal integrated over each value's bin (Ho et al. 2020)."""
    precision = (-log_scale).exp()
    upper = _normal_cdf((x - mean + 1 / 255) * precision)
    lower = _normal_cdf((x - mean - 1 / 255) * precision)
    probability = torch.where(x < -0.999, upper, torch.where(x > 0.999, 1 - lower, upper - lower))
    return probability.clamp(min=1e-12).log()


def _normal_cdf(x: Samples) -> Samples:
    """The tanh approximation that the public DiT objective uses; the golden losses depend on it."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
