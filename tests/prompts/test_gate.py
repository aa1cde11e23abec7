import pytest
import torch
from scipy.special import softmax
from torch.testing import assert_close

from dmp_lightning.condition import Condition
from dmp_lightning.prompts import LinearGate, probability_in_top_k


def random_gate(width=8, prompts=6, **options):
    gate = LinearGate(width, prompts, **options)
    with torch.no_grad():
        for index, parameter in enumerate(gate.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    return gate


def logits_by_hand(gate, e, block):
    inputs = torch.cat([e, torch.full((len(e), 1), float(block))], dim=1)
    return (inputs @ gate.weight.T + gate.bias).detach()


@pytest.mark.parametrize("top_k", [1.0, 0.5])
def test_weights_match_the_golden_gates(golden_dit, top_k):
    backbone, values = golden_dit
    depth, _, prompts = values[f"gates_topk{top_k}"].shape
    gate = LinearGate(backbone.width, prompts, top_k)
    gate.load_state_dict({"weight": values["gate.weight"], "bias": values["gate.bias"], "noise": gate.noise})
    embeddings = backbone.embed(values["t"], Condition(values["y"]))
    gates = gate(embeddings.timestep + embeddings.label, torch.arange(depth, dtype=torch.float32))
    assert_close(gates.weights, values[f"gates_topk{top_k}"], atol=1e-5, rtol=0)


def test_probability_in_top_k_matches_the_golden_load(golden_dit):
    load = {key.removeprefix("load."): value for key, value in golden_dit.values.items() if key.startswith("load.")}
    k = load["clean"].shape[-1] // 2
    found = probability_in_top_k(load["clean"], load["noisy"], load["std"], k)
    assert_close(found, load["prob_in_topk"], atol=1e-5, rtol=0)


def test_probability_in_top_k_is_the_frequency_over_redrawn_noise():
    source = torch.Generator().manual_seed(0)
    clean, std = torch.randn(5, generator=source), torch.rand(5, generator=source) + 0.5
    noisy = clean + std * torch.randn(5, generator=source)
    redrawn = noisy.repeat(5, 20_000, 1)  # entry n is drawn again in row n, the others keep their noise
    for n in range(5):
        redrawn[n, :, n] = clean[n] + std[n] * torch.randn(20_000, generator=source)
    wins = torch.stack([(redrawn[n].topk(2).indices == n).any(-1).float().mean() for n in range(5)])
    assert_close(probability_in_top_k(clean, noisy, std, 2), wins, atol=0.015, rtol=0)  # 4 standard errors


@pytest.mark.parametrize("top_k", [1.0, 0.5])
def test_a_new_gate_weighs_its_active_prompts_alike(top_k):
    weights = LinearGate(8, 6, top_k)(torch.randn(3, 8), torch.tensor([0.0, 5.0])).weights
    active = int(6 * top_k)
    assert_close(weights.sort(descending=True).values[..., :active], torch.full((2, 3, active), 1 / active))
    assert weights.count_nonzero(-1).unique().tolist() == [active]


@pytest.mark.parametrize(("weight_scale", "total"), [("sum", 1.0), ("mean", 6.0)])
def test_weight_scale_sets_the_total(weight_scale, total):
    e, blocks = torch.randn(3, 8), torch.tensor([0.0, 2.0])
    weights = random_gate(weight_scale=weight_scale, top_k=0.5)(e, blocks).weights
    assert_close(weights, total * random_gate(top_k=0.5)(e, blocks).weights)
    assert_close(weights.sum(-1), torch.full((2, 3), total))


def test_training_noise_is_scaled_by_what_the_gate_learned():
    gate, e = random_gate(top_k=0.5), torch.randn(3, 8)
    noise = torch.randn(1, 3, 6)
    gates = gate(e, torch.tensor([4.0]), noise)
    clean = logits_by_hand(gate, e, 4)
    std = torch.log1p(torch.exp(e @ gate.noise.detach())) + 0.01
    noisy = clean + noise[0] * std
    kept = torch.where(noisy >= noisy.topk(3).values[:, -1:], noisy, float("-inf"))
    assert_close(gates.weights[0].detach(), torch.from_numpy(softmax(kept.numpy(), axis=-1)), atol=1e-6, rtol=1e-5)
    assert_close(gates.load[0].detach(), probability_in_top_k(clean, noisy, std, 3))


def test_load_is_left_out_where_it_says_nothing():
    e, blocks, noise = torch.randn(3, 8), torch.tensor([0.0]), torch.randn(1, 3, 6)
    assert LinearGate(8, 6, top_k=1.0)(e, blocks, noise).load is None
    assert LinearGate(8, 6, top_k=0.5)(e, blocks).load is None


@pytest.mark.parametrize("top_k", [0.0, -0.5, 1.5, 0.1, float("nan")])
def test_a_fraction_that_leaves_no_prompt_is_refused(top_k):
    with pytest.raises(ValueError, match=r"gate\.top_k=.*choose a fraction from 1/\d+ to 1"):
        LinearGate(8, 6, top_k=top_k)


def test_an_unknown_weight_scale_is_refused():
    with pytest.raises(ValueError, match="'median' is unknown: choose 'sum' or 'mean'"):
        LinearGate(8, 6, weight_scale="median")
