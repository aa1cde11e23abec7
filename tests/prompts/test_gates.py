"""The other gates against what they are defined by, in numpy and scipy."""

import pytest
import torch
from scipy.special import expit, softmax
from torch.testing import assert_close

from dmp_lightning.prompts import ConstantGate, HardGate, LinearGate, MLPGate, SigmoidGate

E, BLOCKS = torch.randn(3, 8, generator=torch.Generator().manual_seed(5)), torch.tensor([0.0, 2.0])
LEARNED = [LinearGate, HardGate, SigmoidGate, MLPGate]


def random_gate(kind, **options):
    gate = kind(8, 6, **options)
    with torch.no_grad():
        for index, parameter in enumerate(gate.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    return gate


def linear_logits(gate):
    inputs = torch.stack([torch.cat([E, torch.full((3, 1), float(block))], dim=1) for block in BLOCKS])
    return (inputs @ gate.weight.T + gate.bias).detach().numpy()


def test_hard_gives_all_weight_to_the_largest_logit_and_the_gradient_of_a_softmax():
    gate = random_gate(HardGate)
    weights = gate(E, BLOCKS).weights
    assert set(weights.unique().tolist()) == {0.0, 1.0}
    assert (weights.argmax(-1).numpy() == linear_logits(gate).argmax(-1)).all()
    values = torch.randn(6)
    (weights * values).sum().backward()
    soft = random_gate(LinearGate)
    (soft(E, BLOCKS).weights * values).sum().backward()
    assert_close(gate.weight.grad, soft.weight.grad)


def test_hard_has_a_load_as_a_top_k_of_one_has():
    noise = torch.randn(2, 3, 6)
    one_of_six = random_gate(LinearGate, top_k=1 / 6)
    assert_close(random_gate(HardGate)(E, BLOCKS, noise).load, one_of_six(E, BLOCKS, noise).load)


def test_sigmoid_weighs_each_prompt_by_its_own_logit():
    gate = random_gate(SigmoidGate)
    expected = torch.from_numpy(2 * expit(linear_logits(gate)) / 6)
    assert_close(gate(E, BLOCKS).weights.detach(), expected, atol=1e-6, rtol=1e-5)


def test_mlp_puts_a_hidden_layer_before_the_softmax():
    gate = random_gate(MLPGate)
    hidden, output = gate.hidden, gate.output
    for row, block in enumerate(BLOCKS):
        inputs = torch.cat([E, torch.full((3, 1), float(block))], dim=1)
        inner = (inputs @ hidden.weight.T + hidden.bias).detach().numpy()
        logits = (inner * expit(inner)) @ output.weight.detach().numpy().T + output.bias.detach().numpy()
        expected = torch.from_numpy(softmax(logits, axis=-1))
        assert_close(gate(E, BLOCKS).weights[row].detach(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [LinearGate, SigmoidGate, MLPGate, ConstantGate])
@pytest.mark.parametrize(("weight_scale", "weight"), [("sum", 1 / 6), ("mean", 1.0)])
def test_a_new_gate_weighs_all_prompts_as_the_scale_says(kind, weight_scale, weight):
    weights = kind(8, 6, weight_scale=weight_scale)(E, BLOCKS).weights
    assert_close(weights.expand(2, 3, 6), torch.full((2, 3, 6), weight))


@pytest.mark.parametrize("kind", LEARNED)
def test_noise_acts_in_training_only_and_teaches_its_own_scale(kind):
    gate = random_gate(kind)
    quiet, noisy = gate(E, BLOCKS).weights, gate(E, BLOCKS, 3 * torch.randn(2, 3, 6)).weights
    assert not torch.equal(quiet, noisy)
    (noisy * torch.randn(6)).sum().backward()
    assert gate.training_only == ("noise",)
    assert gate.noise.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", [*LEARNED, ConstantGate])
def test_an_unknown_scale_is_refused(kind):
    with pytest.raises(ValueError, match="'median' is unknown"):
        kind(8, 6, weight_scale="median")
