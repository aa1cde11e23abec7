"""The objective of DiT: epsilon by mean squared error, the variance by the variational bound."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dmp_lightning.diffusion.schedule import Schedule
from dmp_lightning.diffusion.weighting import constant

Samples = Float[Tensor, "B C H W"]
Output = Float[Tensor, "B C2 H W"]


class Posterior(NamedTuple):
    """One ancestral step: `x_{t-1} ~ N(mean, exp(log_variance))`, each (B, C, H, W), and the implied clean sample."""

    mean: Samples
    log_variance: Samples
    pred_xstart: Samples


class Losses(NamedTuple):
    """Per sample, (B,): `mse` of epsilon, and `vb`, the variational bound in bits per dimension."""

    mse: Float[Tensor, " B"]
    vb: Float[Tensor, " B"]


class Diffusion:
    """Forward process, posterior and losses of a model that predicts epsilon and a learned-range variance.

    Args:
        betas: (steps,) float64, see `schedule`.
        loss_weight: weight of each timestep's epsilon loss as a function of the SNR, see `weighting`.
    """

    def __init__(
        self,
        betas: Float[Tensor, " steps"],
        loss_weight: Callable[[Float[Tensor, " steps"]], Float[Tensor, " steps"]] = constant,
    ) -> None:
        self.schedule = Schedule(betas)
        self._weights = loss_weight(self.schedule.snr).float()

    def add_noise(self, x0: Samples, noise: Samples, t: Int[Tensor, " B"]) -> Samples:
        """`x_t` of clean samples `x0` under standard normal `noise` (Ho et al. 2020, equation 4)."""
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
        """Both parts of the objective, unweighted; the bound trains the variance alone, its mean is detached."""
        output = output.float()
        epsilon, interpolation = output.chunk(2, dim=1)
        frozen = torch.cat([epsilon.detach(), interpolation], dim=1)
        return Losses((noise - epsilon).square().flatten(1).mean(1), self._bound(frozen, x0, x_t, t))

    def total(self, losses: Losses, t: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Weighted epsilon loss plus bound, per sample: what training minimises the mean of."""
        return self._weights.to(t.device)[t] * losses.mse + losses.vb

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
