from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from dmp_lightning.backbones import DiT
from dmp_lightning.condition import Condition
from dmp_lightning.prompts import LinearGate, MixtureOfPrompts, injected_blocks


def mixture_for(backbone, injection="all", **gate):
    return MixtureOfPrompts(partial(LinearGate, **gate), backbone.depth, backbone.width, backbone.grid, injection)


def run(backbone, mixture, values, noise=None):
    """The patched model, on the conditioning of the authors' release."""
    embeddings = backbone.embed(values["t"], Condition(values["y"]))
    mixed = mixture.weigh(embeddings.timestep + embeddings.label, noise)
    arguments = values["x"], values["t"], Condition(values["y"])
    return backbone(*arguments, lambda tokens, site: mixture.inject(tokens, site.number, mixed))


def golden_mixture(backbone, values, **options):
    mixture = mixture_for(backbone, **options)
    with torch.no_grad():
        mixture.prompts.copy_(values["prompts"][mixture.blocks])
        mixture.gate.weight.copy_(values["gate.weight"])
        mixture.gate.bias.copy_(values["gate.bias"])
    return mixture


@pytest.mark.parametrize("top_k", [1.0, 0.5])
def test_the_patched_model_matches_the_golden_outputs(golden_dit, top_k):
    backbone, values = golden_dit
    out = run(backbone, golden_mixture(backbone, values, top_k=top_k), values)
    assert_close(out, values[f"out.dmp_topk{top_k}"], atol=1e-5, rtol=0)
    assert (out - values["out.frozen"]).abs().max() > 1e-3


@pytest.mark.parametrize("noisy", [False, True])
def test_a_new_patch_leaves_the_base_as_it_is_bit_for_bit(golden_dit, noisy):
    backbone, values = golden_dit
    mixture = mixture_for(backbone, top_k=0.5)
    layers, prompts = mixture.noise_shape
    noise = torch.randn(layers, len(values["x"]), prompts) if noisy else None
    assert torch.equal(
        run(backbone, mixture, values, noise), backbone(values["x"], values["t"], Condition(values["y"]))
    )


def test_a_block_without_prompts_gets_its_tokens_untouched_and_the_others_their_own_index(golden_dit):
    backbone, values = golden_dit
    full, partly = golden_mixture(backbone, values), golden_mixture(backbone, values, injection=[1, 2])
    e, tokens = torch.randn(2, backbone.width), torch.randn(2, backbone.tokens, backbone.width)
    assert torch.equal(partly.inject(tokens, 0, partly.weigh(e)), tokens)
    assert partly.noise_shape == (2, backbone.tokens)
    for block in (1, 2):
        assert_close(partly.inject(tokens, block, partly.weigh(e)), full.inject(tokens, block, full.weigh(e)))


def test_saved_prompts_come_back_as_they_were(golden_dit, tmp_path):
    backbone, values = golden_dit
    saved, loaded = golden_mixture(backbone, values), mixture_for(backbone)
    save_file(saved.state_dict(), tmp_path / "patch.safetensors")
    loaded.load_state_dict(load_file(tmp_path / "patch.safetensors"))
    assert torch.equal(run(backbone, loaded, values), run(backbone, saved, values))


@pytest.mark.parametrize(
    ("width", "depth", "heads", "classes", "dropout", "base_count", "patch_count"),
    [
        pytest.param(1024, 24, 16, 1, 0.0, 457_078_816, 6_554_112, id="DiT-L/2, one class"),
        pytest.param(768, 12, 12, 1, 0.0, 129_744_416, 2_556_416, id="DiT-B/2, one class"),
        pytest.param(1152, 28, 16, 1000, 0.1, 675_129_632, 8_552_960, id="DiT-XL/2, 1000 classes"),
    ],
)
def test_parameter_counts_are_those_of_the_paper(width, depth, heads, classes, dropout, base_count, patch_count):
    with torch.device("meta"):
        backbone = DiT(
            input_size=32,
            in_channels=4,
            patch_size=2,
            width=width,
            depth=depth,
            heads=heads,
            num_classes=classes,
            class_dropout_prob=dropout,
        )
        mixture = mixture_for(backbone)
    training_only = sum(getattr(mixture.gate, name).numel() for name in mixture.gate.training_only)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == base_count
    assert sum(parameter.numel() for parameter in mixture.parameters()) - training_only == patch_count


@pytest.mark.parametrize(
    ("injection", "blocks"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("first:2", [0, 1]),
        ("first:6", [0, 1, 2, 3, 4, 5]),
        ("last:1", [5]),
        ("last:3", [3, 4, 5]),
        ("first:1/2", [0, 1, 2]),
        ("last:1/4", [4, 5]),
        ("first:1/100", [0]),
        ("last:6/6", [0, 1, 2, 3, 4, 5]),
        ("every:1", [0, 1, 2, 3, 4, 5]),
        ("every:4", [0, 4]),
        ([4, 0, 4], [0, 4]),
    ],
)
def test_injection_names_blocks(injection, blocks):
    assert injected_blocks(injection, depth=6) == blocks


@pytest.mark.parametrize(
    ("injection", "message"),
    [
        ("first:0", "n goes from 1 to 6"),
        ("last:7", "n goes from 1 to 6"),
        ("first:3/2", "n goes from 1 to 6"),
        ("first:1/0", "choose all, first:n, last:n, every:n"),
        ("every:1/2", "choose all, first:n, last:n, every:n"),
        ("first", "choose all, first:n, last:n, every:n"),
        ("first:-1", "choose all, first:n, last:n, every:n"),
        ("middle:2", "choose all, first:n, last:n, every:n"),
        ("all:2", "choose all, first:n, last:n, every:n"),
        ([], "name blocks from 0 to 5, at least one"),
        ([6], "name blocks from 0 to 5"),
        ([-1, 2], "name blocks from 0 to 5"),
    ],
)
def test_an_injection_that_names_no_block_of_the_base_is_refused(injection, message):
    with pytest.raises(ValueError, match=message):
        injected_blocks(injection, depth=6)
