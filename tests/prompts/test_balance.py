import numpy as np
import pytest
import torch

from dmp_lightning.prompts import Gates, LinearGate, balance_losses


def squared_variation(values):
    """Variance / mean^2 over the prompts of the batch sum, averaged over the blocks, in numpy."""
    totals = values.double().numpy().sum(axis=1)
    return np.mean(totals.var(axis=-1) / totals.mean(axis=-1) ** 2)


def test_both_losses_match_their_closed_form():
    weights, load = torch.rand(3, 5, 7), torch.rand(3, 5, 7)
    losses = balance_losses(Gates(weights, load))
    assert losses["importance"].item() == pytest.approx(squared_variation(weights), rel=1e-5)
    assert losses["load"].item() == pytest.approx(squared_variation(load), rel=1e-5)


@pytest.mark.parametrize("prompts", [1, 4, 9])
def test_importance_goes_from_none_for_equal_prompts_to_one_less_than_their_number_for_a_single_one(prompts):
    equal = torch.full((2, 3, prompts), 1 / prompts)
    single = torch.zeros(2, 3, prompts)
    single[..., 0] = 1
    assert balance_losses(Gates(equal, None))["importance"].item() == pytest.approx(0, abs=1e-6)
    assert balance_losses(Gates(single, None))["importance"].item() == pytest.approx(prompts - 1, rel=1e-5)


def test_samples_may_differ_as_long_as_the_batch_is_balanced():
    assert balance_losses(Gates(torch.eye(4)[None], None))["importance"].item() == pytest.approx(0, abs=1e-6)


def test_load_is_left_out_where_the_gate_gives_none():
    assert set(balance_losses(Gates(torch.rand(1, 2, 3), None))) == {"importance"}


def test_load_teaches_the_gate_and_its_noise():
    gate = LinearGate(8, 6, top_k=0.5)
    with torch.no_grad():
        gate.weight.normal_(generator=torch.Generator().manual_seed(0))
    losses = balance_losses(gate(torch.randn(4, 8), torch.arange(2.0), torch.randn(2, 4, 6)))
    losses["load"].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in gate.parameters())
