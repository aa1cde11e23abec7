"""What holds for any gate: found by hypothesis among temperatures, shapes and fractions of chance."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from dmp_lightning.prompts import LinearGate, MixtureOfPrompts, balance_losses

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 33), st.sampled_from([1, 4, 16, 64]), st.integers(1, 5))
FRACTIONS = st.floats(0.01, 1.0)
SCALES = st.sampled_from(["sum", "mean"])

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
few = settings(max_examples=60, deadline=None)


def mixture(shape: tuple[int, int, int, int], top_k: float, scale: str, seed: int | None = None) -> MixtureOfPrompts:
    """A mixture for (blocks, width, prompts), all zero, or of random weights."""
    blocks, width, prompts, _ = shape
    top_k = active(prompts, top_k) / prompts
    made = MixtureOfPrompts(partial(LinearGate, top_k=top_k, weight_scale=scale), blocks, width, (1, prompts), "all")
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in made.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return made


def active(prompts: int, top_k: float) -> int:
    """How many prompts act: that fraction of them, or one."""
    return max(1, int(top_k * prompts))


def seen(shape: tuple[int, int, int, int], seed: int) -> torch.Tensor:
    """What the gate sees of a batch."""
    return torch.randn(shape[3], shape[1], generator=torch.Generator().manual_seed(seed))


@few
@given(SHAPES, FRACTIONS, SCALES, st.integers(0, 99))
def test_weights_are_a_mixture_of_the_top_k(shape, top_k, scale, seed):
    weights = mixture(shape, top_k, scale, seed).weigh(seen(shape, seed), None).gates.weights
    prompts = shape[2]
    total = torch.full(weights.shape[:2], 1.0 if scale == "sum" else float(prompts))
    assert_close(weights.sum(-1), total)
    assert (weights >= 0).all()
    assert ((weights > 0).sum(-1) <= active(prompts, top_k)).all()  # fewer where a weight is below what floats hold


@few
@given(SHAPES, FRACTIONS, SCALES, st.integers(0, 99))
def test_a_new_mixture_leaves_the_tokens_as_they_are(shape, top_k, scale, seed):
    made = mixture(shape, top_k, scale)
    mixed = made.weigh(seen(shape, seed), None)
    tokens = torch.randn(shape[3], shape[2], shape[1])
    for block in range(shape[0]):
        assert torch.equal(made.inject(tokens, block, mixed), tokens)


@few
@given(SHAPES, FRACTIONS, SCALES, st.integers(0, 99))
def test_what_is_saved_is_what_is_loaded(shape, top_k, scale, seed):
    made, other = mixture(shape, top_k, scale, seed), mixture(shape, top_k, scale)
    other.load_state_dict(made.state_dict())
    batch = seen(shape, seed)
    assert torch.equal(made.weigh(batch, None).gates.weights, other.weigh(batch, None).gates.weights)


@few
@given(SHAPES, FRACTIONS, SCALES, st.integers(0, 99))
def test_gradients_are_finite_in_bfloat16(shape, top_k, scale, seed):
    made = mixture(shape, top_k, scale, seed).bfloat16()
    noise = None if made.noise_shape is None else torch.randn(shape[0], shape[3], shape[2]).bfloat16()
    mixed = made.weigh(seen(shape, seed).bfloat16(), noise)
    tokens = torch.ones(shape[3], shape[2], shape[1], dtype=torch.bfloat16)
    loss = sum(made.inject(tokens, block, mixed).float().square().mean() for block in range(shape[0]))
    (loss + sum(balance_losses(mixed.gates).values())).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in made.parameters())
