from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.schedule import Schedule, linear_betas
from dmp_lightning.diffusion.weighting import constant, min_snr, p2

WEIGHTS = [
    pytest.param(constant, lambda snr: np.ones_like(snr), id="constant"),
    pytest.param(min_snr, lambda snr: np.minimum(1, 5 / snr), id="min-SNR"),
    pytest.param(partial(min_snr, gamma=1.0), lambda snr: np.minimum(1, 1 / snr), id="min-SNR, gamma 1"),
    pytest.param(p2, lambda snr: 1 / (1 + snr), id="P2"),
    pytest.param(partial(p2, k=2.0, gamma=0.5), lambda snr: 1 / np.sqrt(2 + snr), id="P2, k 2, gamma 0.5"),
]


@pytest.mark.parametrize(("weight", "closed_form"), WEIGHTS)
def test_weights_match_their_closed_form(weight, closed_form):
    snr = Schedule(linear_betas()).snr
    np.testing.assert_allclose(weight(snr), closed_form(snr.numpy()), rtol=1e-12)


@pytest.mark.parametrize(("weight", "closed_form"), WEIGHTS)
def test_the_total_weighs_the_epsilon_loss_and_not_the_bound(weight, closed_form):
    process, t = DDPM(linear_betas(), weight), torch.tensor([0, 500, 999])
    x, noise = torch.randn(2, 3, 1, 4, 4)
    found = process.losses(torch.randn(3, 2, 4, 4), x, process.add_noise(x, noise, t), noise, t)
    weights = torch.from_numpy(closed_form(process.schedule.snr.numpy())).float()[t]
    assert_close(found.total, weights * found.parts["mse"] + found.parts["vb"])
