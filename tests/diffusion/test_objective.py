import pytest
import torch
from torch.testing import assert_close

from dmp_lightning.diffusion.ddpm import DDPM


@pytest.fixture(params=["linear", "cosine"])
def values(request, golden):
    return golden(f"diffusion_{request.param}")


@pytest.fixture
def diffusion(values):
    return DDPM(values["betas"])


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def test_noise_is_added_as_in_the_golden_values(diffusion, values):
    found = diffusion.add_noise(values["x0"], values["noise"], values["t"])
    assert_close(found, values["x_t"], atol=1e-6, rtol=1e-6)


def test_losses_match_the_golden_ones(diffusion, values):
    losses = diffusion.losses(values["model_output"], values["x0"], values["x_t"], values["noise"], values["t"])
    assert_close(losses.parts["mse"], values["loss.mse"], atol=0, rtol=1e-5)
    assert_close(losses.parts["vb"], values["loss.vb"], atol=0, rtol=1e-5)


def test_the_ancestral_step_matches_the_golden_one(diffusion, values):
    posterior = diffusion.posterior(values["model_output"], values["x_t"], values["t"])
    noisy = values["t"] > 0
    assert relative(posterior.mean, values["posterior.mean"]) < 1e-4
    assert relative(posterior.pred_xstart, values["posterior.pred_xstart"]) < 1e-4
    assert_close(posterior.log_variance[noisy], values["posterior.log_variance"][noisy], atol=1e-3, rtol=0)


def test_the_bound_trains_the_variance_alone(diffusion, values):
    output = values["model_output"].clone().requires_grad_()
    losses = diffusion.losses(output, values["x0"], values["x_t"], values["noise"], values["t"])
    (grad,) = torch.autograd.grad(losses.parts["vb"].sum(), output)
    epsilon, interpolation = grad.chunk(2, dim=1)
    assert epsilon.count_nonzero() == 0
    assert (interpolation.flatten(1).norm(dim=1) > 0).all()


def test_a_perfect_prediction_has_no_epsilon_loss_and_recovers_the_clean_sample(diffusion, values):
    t = torch.full_like(values["t"], 300)
    x_t = diffusion.add_noise(values["x0"], values["noise"], t)
    output = torch.cat([values["noise"], torch.zeros_like(x_t)], dim=1)
    assert diffusion.losses(output, values["x0"], x_t, values["noise"], t).parts["mse"].max() == 0
    assert relative(diffusion.posterior(output, x_t, t).pred_xstart, values["x0"]) < 1e-5


def test_losses_of_a_half_precision_output_are_taken_in_float32(diffusion, values):
    output = values["model_output"].bfloat16()
    losses = diffusion.losses(output, values["x0"], values["x_t"], values["noise"], values["t"])
    expected = diffusion.losses(output.float(), values["x0"], values["x_t"], values["noise"], values["t"])
    assert losses.parts["mse"].dtype == losses.parts["vb"].dtype == torch.float32
    assert torch.equal(losses.parts["mse"], expected.parts["mse"])
    assert torch.equal(losses.parts["vb"], expected.parts["vb"])


def test_a_time_says_its_noise(diffusion):
    t = torch.tensor([0, 500, 999])
    assert diffusion.place(t).tolist() == pytest.approx([0, 500 / 999, 1])
    levels = diffusion.log_snr(t)
    assert (levels.diff() < 0).all()
    assert_close(levels.sigmoid().sqrt(), diffusion.schedule.at("signal", t).flatten())


def test_spread_times_go_from_end_to_end_and_strata_have_their_middles(diffusion):
    assert diffusion.spread(4).tolist() == [0, 333, 666, 999]
    assert diffusion.centres(4).tolist() == [125, 375, 625, 875]
