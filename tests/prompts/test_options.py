"""Positions, initialisations, the released balance and the noise level, against what defines them."""

from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from torch.testing import assert_close

from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.schedule import cosine_betas, linear_betas
from dmp_lightning.prompts import (
    ConstantGate,
    Gates,
    LinearGate,
    MixtureOfPrompts,
    noise_level_embedding,
    released_balance_losses,
)

PLAIN = partial(ConstantGate, weight_scale="mean")


def test_prepended_prompts_are_replaced_at_each_injected_block():
    mixture = MixtureOfPrompts(PLAIN, 3, 8, (2, 2), [0, 2], prompt_count=5, position="prepend", init="normal")
    tokens = torch.randn(2, 4, 8)
    mixed = mixture.weigh(torch.randn(2, 8))
    first = mixture.inject(tokens, 0, mixed)
    assert torch.equal(first[:, 5:], tokens)
    assert torch.equal(first[1, :5], mixture.prompts[0])
    through = first + 1  # a block
    assert torch.equal(mixture.inject(through, 1, mixed), through)
    last = mixture.inject(through, 2, mixed)
    assert torch.equal(last[:, 5:], tokens + 1)
    assert torch.equal(last[0, :5], mixture.prompts[1])


def test_prepended_prompts_are_weighed_by_their_gate():
    mixture = MixtureOfPrompts(LinearGate, 1, 8, (2, 2), prompt_count=3, position="prepend", init="xavier")
    mixture.gate.weight.data.normal_()
    mixed = mixture.weigh(torch.randn(2, 8))
    entered = mixture.inject(torch.zeros(2, 4, 8), 0, mixed)
    assert_close(entered[:, :3], torch.einsum("bp,pd->bpd", mixed.gates.weights[0], mixture.prompts[0]))


@pytest.mark.parametrize(("init", "std"), [("zero", 0.0), ("normal", 0.02), ("xavier", (2 / (64 + 256)) ** 0.5)])
def test_prompts_start_with_the_deviation_of_their_initialisation(init, std):
    prompts = MixtureOfPrompts(PLAIN, 4, 256, (8, 8), init=init).prompts
    assert prompts.std().item() == pytest.approx(std, rel=0.02)


def test_the_released_balance_lets_blocks_favour_a_few_as_long_as_all_blocks_together_do_not():
    each_its_own = torch.eye(4)[:, None].expand(4, 3, 4)  # four blocks, each with all weight on one prompt
    assert released_balance_losses(Gates(each_its_own, None))["importance"].item() == pytest.approx(0, abs=1e-6)
    weights = torch.rand(4, 3, 5)
    total = weights.double().numpy().sum((0, 1))
    expected = np.var(total) / np.mean(total) ** 2
    assert released_balance_losses(Gates(weights, weights))["importance"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("betas", [linear_betas(), cosine_betas()], ids=["linear", "cosine"])
def test_log_snr_is_that_of_diffusers(betas):
    alphas_cumprod = DDPMScheduler(trained_betas=betas.numpy()).alphas_cumprod.double()
    expected = (alphas_cumprod / (1 - alphas_cumprod)).log().float()
    kept = slice(0, -1)  # the last beta of the cosine leaves next to no signal: single precision knows it badly
    assert_close(DDPM(betas).log_snr(torch.arange(1000))[kept], expected[kept], rtol=1e-3, atol=1e-3)


def test_noise_levels_are_told_apart_and_near_ones_are_near():
    levels = torch.linspace(-10, 10, 201)
    seen = noise_level_embedding(levels, 32)
    assert_close(seen.square().sum(1), torch.full((201,), 16.0))
    distance = torch.cdist(seen, seen)
    steps = torch.arange(201)
    assert (distance + 1e9 * torch.eye(201)).min() > 0.1
    assert distance[steps[:-1], steps[1:]].max() < distance[steps[:-10], steps[10:]].min() * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position": "append"}, "choose add or prepend"),
        ({"position": "prepend", "prompt_count": 0}, "choose 1 or more"),
        ({"init": "ones"}, "choose zero, normal or xavier"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureOfPrompts(LinearGate, 3, 8, (2, 2), **options)


def test_a_noise_level_needs_an_even_width():
    with pytest.raises(ValueError, match="even width"):
        noise_level_embedding(torch.zeros(2), 7)
