"""Fixtures that all tests share: the golden values, and one thread, so that results do not depend on the machine."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from dmp_lightning.backbones import DiT

GOLDEN = Path(__file__).parent / "golden"
torch.set_num_threads(1)


class GoldenDiT(NamedTuple):
    """A small DiT with the golden weights, and the inputs and outputs that go with it."""

    backbone: DiT
    values: dict[str, Tensor]


@cache
def load_golden(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


@cache
def load_golden_dit(name: str) -> GoldenDiT:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
    backbone = DiT(
        input_size=config["input_size"],
        in_channels=config["in_channels"],
        patch_size=config["patch_size"],
        width=config["hidden_size"],
        depth=config["depth"],
        heads=config["num_heads"],
        num_classes=config["num_classes"],
        class_dropout_prob=config["class_dropout_prob"],
    )
    values = load_golden(name)
    weights = {key.removeprefix("backbone."): value for key, value in values.items() if key.startswith("backbone.")}
    backbone.load_state_dict(weights)
    return GoldenDiT(backbone.eval().requires_grad_(False), values)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Tensor]]:
    """The tensors of a golden file by its name."""
    return load_golden


@pytest.fixture(scope="session", params=["dit_class_conditional", "dit_unconditional"])
def golden_dit(request: pytest.FixtureRequest) -> GoldenDiT:
    """Each of the golden models."""
    return load_golden_dit(request.param)


@pytest.fixture(scope="session")
def labelled_dit() -> GoldenDiT:
    """The golden model that has labels, and a null label."""
    return load_golden_dit("dit_class_conditional")
