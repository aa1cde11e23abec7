"""One contract for all methods, on a DiT with random weights and three real optimiser steps."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from dmp_lightning.backbones import DiT
from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.schedule import linear_betas
from dmp_lightning.methods import DMP, AdaLN, Frozen, FullFinetune, LoRA, Method, PromptTuning, load_patch, save_patch
from dmp_lightning.methods.base import Prediction
from dmp_lightning.methods.patches import fingerprint
from dmp_lightning.prompts import ConstantGate, HardGate, LinearGate, MLPGate, SigmoidGate

WIDTH, DEPTH, TOKENS, CLASSES = 32, 3, 16, 4
BALANCE = {"importance": 1.0, "load": 1.0}
GATE_KEYS = {"mixture.prompts", "mixture.gate.weight", "mixture.gate.bias"}
BACKBONE = sum(p.numel() for p in DiT(
    input_size=8, in_channels=4, patch_size=2, width=WIDTH, depth=DEPTH, heads=4, num_classes=4, class_dropout_prob=0.1
).parameters())  # fmt: skip


class Case(NamedTuple):
    build: Callable[[DiT], Method]
    size: int
    exported: set[str] | None  # None: the whole backbone
    training_only: frozenset[str] = frozenset()
    starts_as_base: bool = True
    has_strength: bool = True


def dmp(gate: Callable[..., object] = LinearGate, balance: object = BALANCE, **options: object) -> Callable:
    return lambda backbone: DMP(backbone, gate, balance, **options)


def tuning(**options: object) -> Callable[[DiT], Method]:
    return lambda backbone: PromptTuning(backbone, **options)


def patched(blocks: int, prompts: int = TOKENS) -> int:
    return blocks * prompts * WIDTH + prompts * (WIDTH + 1) + prompts


def adapters(*layers: str) -> set[str]:
    return {f"blocks.{block}.{layer}.lora_{part}.weight" for block in range(DEPTH) for layer in layers for part in "AB"}


PROMPTS = {"mixture.prompts"}
MLP_KEYS = PROMPTS | {f"mixture.gate.{layer}.{part}" for layer in ("hidden", "output") for part in ("weight", "bias")}
MLP_SIZE = 3 * TOKENS * WIDTH + (WIDTH + 1) * WIDTH + WIDTH + WIDTH * TOKENS + TOKENS
ADALN = {name for name in DiT(
    input_size=8, in_channels=4, patch_size=2, width=WIDTH, depth=DEPTH, heads=4, num_classes=4, class_dropout_prob=0.1
).state_dict() if "adaLN_modulation" in name or name.endswith("bias")}  # fmt: skip
ATTENTION, MLP = ("attn.qkv", "attn.proj"), ("mlp.fc1", "mlp.fc2")
NOISE = frozenset({"mixture.gate.noise"})
HALF = partial(LinearGate, top_k=0.5)
CASES = {
    "dmp": Case(dmp(), patched(3), GATE_KEYS, NOISE),
    "dmp_mean": Case(dmp(partial(LinearGate, weight_scale="mean")), patched(3), GATE_KEYS, NOISE),
    "dmp_topk": Case(dmp(HALF), patched(3), GATE_KEYS, NOISE),
    "dmp_hard": Case(dmp(HardGate), patched(3), GATE_KEYS, NOISE),
    "dmp_sigmoid": Case(dmp(SigmoidGate), patched(3), GATE_KEYS, NOISE),
    "dmp_mlp": Case(dmp(MLPGate), MLP_SIZE, MLP_KEYS, NOISE),
    "dmp_uniform": Case(dmp(ConstantGate), 3 * TOKENS * WIDTH, PROMPTS),
    "dmp_none": Case(dmp(partial(ConstantGate, weight_scale="mean")), 3 * TOKENS * WIDTH, PROMPTS),
    "dmp_label": Case(dmp(condition="timestep_and_label"), patched(3), GATE_KEYS, NOISE),
    "dmp_log_snr": Case(dmp(condition="log_snr", process=DDPM(linear_betas())), patched(3), GATE_KEYS, NOISE),
    "dmp_released": Case(dmp(HALF, balance="released"), patched(3), GATE_KEYS, NOISE),
    "dmp_first": Case(dmp(injection="first:1"), patched(1), GATE_KEYS, NOISE),
    "dmp_last": Case(dmp(injection="last:2"), patched(2), GATE_KEYS, NOISE),
    "dmp_every": Case(dmp(injection="every:2"), patched(2), GATE_KEYS, NOISE),
    "dmp_half": Case(dmp(injection="first:1/2"), patched(2), GATE_KEYS, NOISE),
    "dmp_list": Case(dmp(injection=[0, 2]), patched(2), GATE_KEYS, NOISE),
    "dmp_few_prompts": Case(dmp(HALF, prompt_count=4), patched(3, 4), GATE_KEYS, NOISE),
    "dmp_share_of_prompts": Case(dmp(HALF, prompt_count=0.25), patched(3, 4), GATE_KEYS, NOISE),
    "dmp_many_prompts": Case(dmp(HALF, prompt_count=48), patched(3, 48), GATE_KEYS, NOISE),
    "dmp_normal": Case(dmp(init="normal"), patched(3), GATE_KEYS, NOISE, starts_as_base=False),
    "dmp_xavier": Case(dmp(init="xavier"), patched(3), GATE_KEYS, NOISE, starts_as_base=False),
    "dmp_prepend": Case(
        dmp(position="prepend", prompt_count=5, injection=[0, 2]),
        patched(2, 5),
        GATE_KEYS,
        NOISE,
        starts_as_base=False,
        has_strength=False,
    ),
    "prompt_tuning": Case(tuning(), DEPTH * TOKENS * WIDTH, PROMPTS),
    "prompt_tuning_few": Case(tuning(prompt_count=1, injection="last:1"), WIDTH, PROMPTS),
    "prompt_tuning_prepend": Case(
        tuning(position="prepend", init="xavier"),
        DEPTH * TOKENS * WIDTH,
        PROMPTS,
        starts_as_base=False,
        has_strength=False,
    ),
    "full_finetune": Case(FullFinetune, BACKBONE - TOKENS * WIDTH, None),
    "lora": Case(
        partial(LoRA, rank=4, alpha=8, targets=["qkv", "proj", "fc1", "fc2"]),
        DEPTH * 4 * (4 + 2 + 5 + 5) * WIDTH,
        adapters(*ATTENTION, *MLP),
    ),
    "lora_attention": Case(
        partial(LoRA, rank=2, alpha=2, targets=["attn.qkv"]), DEPTH * 2 * 4 * WIDTH, adapters("attn.qkv")
    ),
    "adaln": Case(
        AdaLN,
        # biases of the embedders and the last layer; the last modulation; biases and modulation of the blocks
        (3 * WIDTH + 32) + 2 * (WIDTH + 1) * WIDTH + DEPTH * ((3 + 1 + 4 + 1) + 6 * (WIDTH + 1)) * WIDTH,
        ADALN,
    ),
    "frozen": Case(Frozen, 0, set(), has_strength=False),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
TRAINABLE = {name: case for name, case in CASES.items() if name != "frozen"}
trainable = pytest.mark.parametrize("case", TRAINABLE.values(), ids=TRAINABLE.keys())


def base() -> DiT:
    """A backbone whose output depends on all of its weights."""
    torch.manual_seed(0)
    model = DiT(
        input_size=8, in_channels=4, patch_size=2, width=WIDTH, depth=DEPTH, heads=4, num_classes=CLASSES,
        class_dropout_prob=0.1,
    )  # fmt: skip
    for name, parameter in model.named_parameters():
        if name != "pos_embed":
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def batch(method: Method, noisy: bool) -> tuple[Tensor, Tensor, Condition, Tensor | None]:
    torch.manual_seed(1)
    x, t = torch.randn(6, 4, 8, 8), torch.randint(0, 1000, (6,))
    y = Condition(torch.randint(0, CLASSES, (6,)))
    if not noisy or method.noise_shape is None:
        return x, t, y, None
    return x, t, y, torch.randn(6, *method.noise_shape).transpose(0, 1)


def total_loss(prediction: Prediction) -> Tensor:
    """An arbitrary loss of the output, with the method's own."""
    return prediction.output.float().square().mean() + sum(prediction.auxiliary.values())


def trained(method: Method) -> Method:
    """After three steps: zero initialisation keeps some gradients at zero in the first."""
    groups = method.parameter_groups()
    if not groups:
        return method
    optimiser = torch.optim.AdamW([{"params": p} for p in groups.values()], lr=1e-2, weight_decay=0.0)
    for _ in range(3):
        loss = total_loss(method(*batch(method, noisy=True)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return method


@cases
def test_starts_as_the_base_bit_for_bit_where_prompts_are_added_and_zero(case: Case) -> None:
    method = case.build(base())
    x, t, y, _ = batch(method, noisy=False)
    with torch.no_grad():
        assert torch.equal(method(x, t, y).output, base()(x, t, y)) == case.starts_as_base


@pytest.mark.parametrize("name", ["dmp", "dmp_mean", "dmp_last", "prompt_tuning", "lora"])
def test_on_a_base_in_bf16_it_starts_as_that_bit_for_bit_and_trains_in_float32(name: str) -> None:
    frozen, method = Frozen(base().bfloat16()), CASES[name].build(base().bfloat16())
    x, t, y, _ = batch(method, noisy=False)
    with torch.no_grad():
        expected = frozen(x, t, y).output
        assert torch.equal(method(x, t, y).output, expected)
        exact = base()(x, t, y)
    assert 0 < (expected - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(value.dtype == torch.float32 for value in trained(method).exported().values())
    assert {value.dtype for value in method.base().values()} == {torch.bfloat16}


@cases
def test_three_steps_move_exactly_its_own_parameters(case: Case) -> None:
    method = case.build(base())
    before = {name: value.clone() for name, value in method.named_parameters()}
    trained(method)
    own = method.trained()
    moved = {name for name, value in method.named_parameters() if not torch.equal(value, before[name])}
    # A label that no sample of the batch has still belongs to the table; the table as a whole must have moved.
    assert moved == set(own)


@cases
def test_backbone_gradients_are_not_computed(case: Case) -> None:
    method = trained(case.build(base()))
    own = method.trained()
    for name, parameter in method.named_parameters():
        assert (parameter.grad is not None) == (name in own), name


@cases
def test_size_is_that_of_the_formula(case: Case) -> None:
    assert case.build(base()).size == case.size


@cases
def test_exports_exactly_what_others_need(case: Case) -> None:
    method = case.build(base())
    expected = set(base().state_dict()) if case.exported is None else case.exported
    assert set(method.exported()) == expected
    assert method.training_only == case.training_only


@cases
def test_saved_and_loaded_it_predicts_the_same(case: Case, tmp_path: Path) -> None:
    method = trained(case.build(base()))
    path = tmp_path / "patch.safetensors"
    save_patch(method.exported(), path, fingerprint(base()), {"name": "test"})
    loaded = load_patch(case.build(base()), path)
    x, t, y, _ = batch(method, noisy=False)
    with torch.no_grad():
        assert torch.equal(loaded(x, t, y).output, method(x, t, y).output)
    assert [file.name for file in tmp_path.iterdir()] == ["patch.safetensors"]


@pytest.mark.parametrize(
    ("sizes", "base_size", "patch_size"),
    [
        (
            {"width": 1024, "depth": 24, "heads": 16, "num_classes": 1, "class_dropout_prob": 0.0},
            457_078_816,
            6_554_112,
        ),
        ({"width": 768, "depth": 12, "heads": 12, "num_classes": 1, "class_dropout_prob": 0.0}, 129_744_416, 2_556_416),
        (
            {"width": 1152, "depth": 28, "heads": 16, "num_classes": 1000, "class_dropout_prob": 0.1},
            675_129_632,
            8_552_960,
        ),
    ],
    ids=["DiT-L/2", "DiT-B/2", "DiT-XL/2"],
)
def test_sizes_are_those_of_the_paper(sizes: dict, base_size: int, patch_size: int) -> None:
    with torch.device("meta"):
        method = CASES["dmp"].build(DiT(input_size=32, in_channels=4, patch_size=2, **sizes))
    assert sum(value.numel() for value in method.backbone.parameters()) == base_size
    exported = sum(value.numel() * value.element_size() for value in method.exported().values())
    assert method.size == patch_size
    assert exported == 4 * patch_size
    if base_size == 457_078_816:
        assert exported < 30e6


def gradients(method: Method, checkpointed: bool) -> tuple[dict[str, Tensor], int]:
    """Of the loss, and how many bytes of activations the backward pass was given."""
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    method.backbone.activation_checkpointing = checkpointed
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        prediction = method(*batch(method, noisy=True))
    total_loss(prediction).backward()
    found = {name: value.grad for name, value in method.trained().items()}
    method.zero_grad()
    own = {value.untyped_storage().data_ptr() for value in method.parameters()}
    return found, sum(size for storage, size in held.items() if storage not in own)


@trainable
def test_activation_checkpointing_changes_memory_and_no_gradient(case: Case) -> None:
    method = trained(case.build(base()))
    method.zero_grad()
    (plain, more), (again, fewer) = (gradients(method, checkpointed) for checkpointed in (False, True))
    assert all(torch.equal(plain[key], again[key]) for key in plain)
    assert fewer < more / 2


@trainable
def test_two_passes_before_one_backward_have_their_own_gradients(case: Case) -> None:
    """As with gradients of two losses: what a block computes again must be of its own pass, not of the latest."""
    method = trained(case.build(base()))
    first, second = batch(method, noisy=True), batch(method, noisy=True)
    second = second[0].flip(0), second[1].flip(0), second[2], second[3]

    def taken(checkpointed: bool) -> dict[str, Tensor]:
        method.zero_grad()
        method.backbone.activation_checkpointing = checkpointed
        losses = [total_loss(method(*arguments)) for arguments in (first, second)]
        sum(losses).backward()
        return {name: value.grad.clone() for name, value in method.trained().items()}

    plain, again = taken(False), taken(True)
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_a_copy_is_independent_and_a_pickled_method_comes_back() -> None:
    method = trained(CASES["dmp_log_snr"].build(base())).eval()
    x, t, y, _ = batch(method, noisy=False)
    with torch.no_grad():
        expected = method(x, t, y).output
        copies = deepcopy(method), pickle.loads(pickle.dumps(method))
        method.mixture.prompts.zero_()
        assert all(torch.equal(copy(x, t, y).output, expected) for copy in copies)


def test_prompts_before_the_tokens_are_refused_where_the_base_counts_its_tokens() -> None:
    backbone = base()
    backbone.takes_more_tokens = False
    with pytest.raises(ValueError, match="position=prepend: this base takes no extra tokens"):
        CASES["dmp_prepend"].build(backbone)


@trainable
def test_in_bf16_it_predicts_nearly_the_same_and_all_of_it_is_taught(case: Case) -> None:
    method = trained(case.build(base()))
    method.zero_grad()
    exact = method(*batch(method, noisy=True)).output.detach()
    with torch.autocast("cpu", torch.bfloat16):
        prediction = method(*batch(method, noisy=True))
    assert 0 < (prediction.output - exact).norm() < 0.02 * exact.norm()
    total_loss(prediction).backward()
    assert all(0 < parameter.grad.abs().max() < float("inf") for parameter in method.trained().values())


def test_no_gradient_passes_below_the_first_injected_block() -> None:
    method = CASES["dmp_last"].build(base())
    inputs = []
    for block in method.backbone.blocks:
        block.register_forward_hook(lambda module, args, output: inputs.append(output.requires_grad))
    method(*batch(method, noisy=True))
    assert inputs == [False, True, True]


@cases
def test_strength_goes_from_the_base_to_the_patch_and_beyond(case: Case, tmp_path: Path) -> None:
    patched = trained(case.build(base())).eval()
    save_patch(patched.exported(), tmp_path / "patch.safetensors", fingerprint(base()), {})
    x, t, y, _ = batch(patched, noisy=False)

    def output(strength: float) -> Tensor:
        with torch.no_grad():
            return load_patch(case.build(base()), tmp_path / "patch.safetensors", strength).eval()(x, t, y).output

    assert torch.equal(output(1.0), patched(x, t, y).output)
    if not case.has_strength:
        with pytest.raises(ValueError, match="cannot be scaled, set strength=1"):
            output(0.0)
        return
    plain = base()(x, t, y)
    torch.testing.assert_close(output(0.0), plain, rtol=1e-5, atol=1e-6)
    changes = [(output(strength) - plain).norm() for strength in (0.1, 0.5, 1.0, 1.5)]
    assert changes == sorted(changes)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["compiled", "distributed"])
def test_each_works_under(script: str) -> None:
    """In processes of their own: the checks of shapes that pytest adds are nothing that a compiler can follow."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"tests.methods.{script}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == list(TRAINABLE)
