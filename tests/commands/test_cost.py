"""The cost that docs/cost.md promises, against torch, the DiT paper, and what was measured."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dmp_lightning.condition import Condition

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "experiments/step_cost"
GOLDEN = {"B": (129_744_416, 2_556_416), "L": (457_078_816, 6_554_112), "XL": (675_129_632, 8_552_960)}
PUBLISHED = {"S": 6.06e9, "B": 23.01e9, "L": 80.71e9, "XL": 118.64e9}  # multiply-adds (Peebles and Xie 2023, table 1)


@pytest.fixture(scope="module")
def cost() -> Any:
    """The script, which is a program of its own."""
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module("cost_table")
    finally:
        sys.path.remove(str(BENCH))


@pytest.mark.parametrize("name", ["models", "times", "memories", "stream"])
def test_the_page_has_the_tables_that_the_script_prints(cost: Any, name: str) -> None:
    assert getattr(cost, name)() in (ROOT / "docs/cost.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("size", GOLDEN)
def test_parameters_are_those_of_the_design(cost: Any, size: str) -> None:
    assert cost.parameters(size) == GOLDEN[size]


@pytest.mark.parametrize("size", PUBLISHED)
def test_a_forward_pass_is_what_the_paper_states(cost: Any, size: str) -> None:
    assert cost.flops("frozen", size) / 2 == pytest.approx(PUBLISHED[size], rel=2e-3)


@pytest.mark.parametrize("name", ["dmp", "prompt_tuning", "full_finetune"])
def test_torch_counts_as_many_operations(cost: Any, name: str) -> None:
    case = cost.Case(name, depth=4, batch=1)
    x, t = torch.randn(1, 4, 32, 32), torch.zeros(1, dtype=torch.long)
    method = steps(cost).build(case, "cpu").train()
    with torch.enable_grad():
        found = torch_count(
            cost, lambda: method(x, t, Condition(t), gate_noise(method, 1)).output.square().mean().backward()
        )
    assert found == pytest.approx(cost.step_flops(case), rel=0.01)


def torch_count(cost: Any, function: Any) -> float:
    with cost.sdpa_kernel(cost.SDPBackend.MATH), cost.FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def test_the_vae_has_the_parameters_of_the_public_one(cost: Any) -> None:
    assert sum(value.numel() for value in cost.stable_diffusion_vae().parameters()) == 83_653_863


@pytest.mark.parametrize("name", ["dmp", "full_finetune"])
def test_the_backward_pass_is_given_as_many_bytes(cost: Any, name: str) -> None:
    case = cost.Case(name, autocast=True)
    found = {(d, b): held(cost, replace(case, depth=d, batch=b)) for d in (1, 2) for b in (1, 2)}
    samples = found[2, 2] - found[2, 1] - found[1, 2] + found[1, 1]
    weights = found[2, 1] - found[1, 1] - samples
    width = 384
    assert samples / (256 * width) == pytest.approx(cost.KEPT[name], rel=0.01)
    assert weights / width**2 == pytest.approx(cost.COPIED[name], rel=0.01)


def test_the_memory_is_what_was_measured(cost: Any) -> None:
    """On a CPU with one sample, so that weights decide; libraries come on top."""
    rows = json.loads((BENCH / "results/cpu.json").read_text())["memory"]["found"]
    measured = {row["what"]: row["peak"] - row["libraries"] for row in rows}
    case = cost.Case("dmp", size="L", batch=1)
    for what, computed in {
        "bf16 autocast": replace(case, autocast=True),
        "base in bf16": replace(case, dtype="bfloat16"),
        "base in bf16, activation checkpointing": replace(case, dtype="bfloat16", checkpointing=True),
    }.items():
        assert cost.memory(computed) / 2**20 == pytest.approx(measured[what], rel=0.05), what


def held(cost: Any, case: Any) -> int:
    """Bytes of all that the backward pass of a step is given, but the parameters."""
    method = steps(cost).build(case, "cpu").train()
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # which keeps the address from being used again
        return tensor

    x, t = torch.randn(case.batch, 4, 32, 32), torch.zeros(case.batch, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, cache_enabled=False),
    ):
        output = method(x, t, Condition(t), gate_noise(method, case.batch)).output
    own = {value.untyped_storage().data_ptr() for value in method.parameters()}
    assert output.requires_grad
    return sum(value.untyped_storage().nbytes() for address, value in kept.items() if address not in own)


def gate_noise(method: Any, batch: int) -> Tensor | None:
    shape = method.noise_shape
    return None if shape is None else torch.randn(shape[0], batch, shape[1])


def steps(cost: Any) -> Any:
    return sys.modules[cost.Case.__module__]
