import numpy as np
import pytest
import torch
from torch.testing import assert_close

from dmp_lightning.diffusion.schedule import Schedule, cosine_betas, linear_betas


@pytest.mark.parametrize(("name", "betas"), [("linear", linear_betas), ("cosine", cosine_betas)])
def test_betas_match_the_golden_ones(golden, name, betas):
    assert_close(betas(), golden(f"diffusion_{name}")["betas"], atol=0, rtol=1e-12)


@pytest.mark.parametrize("betas", [linear_betas, cosine_betas])
def test_a_shorter_schedule_ends_in_noise_as_well(betas):
    assert (1 - betas(100)).prod() < 1e-4


def test_derived_quantities_follow_from_the_betas():
    schedule = Schedule(linear_betas())
    kept = np.cumprod(1 - schedule.betas.numpy())
    before = np.append(1, kept[:-1])
    variance = schedule.betas.numpy() * (1 - before) / (1 - kept)
    np.testing.assert_allclose(schedule.snr, kept / (1 - kept), rtol=1e-12)
    np.testing.assert_allclose(schedule.signal**2 + schedule.sigma**2, np.ones(1000), rtol=1e-12)
    np.testing.assert_allclose(schedule.posterior_log_variance[1:], np.log(variance[1:]), rtol=1e-12)
    assert schedule.posterior_log_variance[0] == schedule.posterior_log_variance[1]


def test_values_are_read_at_each_sample_s_own_timestep():
    schedule = Schedule(linear_betas())
    found = schedule.at("sigma", torch.tensor([7, 0, 999]))
    assert found.shape == (3, 1, 1, 1)
    assert_close(found.flatten(), schedule.sigma[[7, 0, 999]].float(), atol=0, rtol=0)
