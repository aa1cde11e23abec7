"""Times, weights and noise levels of training against diffusers' own training utilities."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import (
    compute_density_for_timestep_sampling,
    compute_loss_weighting_for_sd3,
    compute_snr,
)
from torch.testing import assert_close

from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.flow import Flow
from dmp_lightning.diffusion.schedule import linear_betas, scaled_linear_betas
from dmp_lightning.diffusion.weighting import min_snr, min_snr_v

COUNT = 100_000
ALL = torch.arange(1000)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("times", "scheme", "mean", "std"),
    [
        ("uniform", "none", 0.0, 1.0),
        ("logit_normal", "logit_normal", 0.0, 1.0),
        ("logit_normal", "logit_normal", 0.6, 0.7),
    ],
)
def test_times_are_drawn_as_diffusers_draws_them(times: str, scheme: str, mean: float, std: float) -> None:
    """The largest difference of the two distributions is one that chance makes."""
    torch.manual_seed(0)
    theirs = compute_density_for_timestep_sampling(scheme, COUNT, mean, std, mode_scale=1.29)
    ours = Flow(times, mean, std).draw(COUNT, torch.Generator().manual_seed(1), CPU)
    grid = torch.linspace(0, 1, 201)
    shares = [torch.searchsorted(drawn.sort().values, grid) / COUNT for drawn in (ours, theirs)]
    assert (shares[0] - shares[1]).abs().max() < 1.95 * math.sqrt(2 / COUNT)  # Kolmogorov and Smirnov, 0.1%


def test_a_shift_moves_the_times_that_are_drawn() -> None:
    """As SD3 does it, equation 23: the logarithm of noise over data grows by that of the shift."""
    drawn = [
        Flow("logit_normal", shift=shift).draw(1000, torch.Generator().manual_seed(0), CPU).double()
        for shift in (1.0, 3.0)
    ]
    assert_close(
        torch.logit(drawn[1]) - torch.logit(drawn[0]),
        torch.full((1000,), math.log(3), dtype=torch.double),
        atol=1e-4,
        rtol=0,
    )


def test_all_times_of_a_flow_count_the_same_as_with_logit_normal_times_in_diffusers() -> None:
    sigmas = torch.linspace(0.1, 1, 5)
    weights = compute_loss_weighting_for_sd3("logit_normal", sigmas)
    x0, noise, output = torch.randn(3, 5, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    theirs = (weights[:, None, None, None] * (output - (noise - x0)) ** 2).mean((1, 2, 3))
    assert_close(Flow("logit_normal").losses(output, x0, x0, noise, sigmas).total, theirs)


@pytest.mark.parametrize(
    ("betas", "theirs"),
    [
        (linear_betas(), DDPMScheduler(1000, 0.0001, 0.02, "linear")),
        (scaled_linear_betas(), DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear")),
    ],
)
def test_noise_levels_and_weights_are_those_of_diffusers(betas: torch.Tensor, theirs: DDPMScheduler) -> None:
    """Weights as diffusers' training scripts have them."""
    snr = compute_snr(theirs, ALL).double()
    assert_close(DDPM(betas).log_snr(ALL), snr.log().float(), rtol=1e-3, atol=2e-3)
    least = snr.clamp(max=5.0)
    x0, noise, output = torch.randn(3, 1000, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    for predicts, weight, expected in (("epsilon", min_snr, least / snr), ("v", min_snr_v, least / (snr + 1))):
        losses = DDPM(betas, weight, predicts).losses(output, x0, x0, noise, ALL)
        assert_close((losses.total / losses.parts["mse"]).double(), expected, rtol=2e-3, atol=1e-6)
