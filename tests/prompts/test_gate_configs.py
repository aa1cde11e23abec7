"""Each gate of conf/gate does what its name says."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hydra.utils import instantiate
from torch.testing import assert_close

from dmp_lightning.commands.cli import CONFIG_DIR
from tests.configs import config

WIDTH, PROMPTS = 8, 6
E, BLOCKS = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(5)), torch.tensor([0.0, 2.0])
LINEAR = (WIDTH + 1) * PROMPTS + PROMPTS
HIDDEN = (WIDTH + 1) * WIDTH + WIDTH


class Expected(NamedTuple):
    """`size`: parameters that are exported. `total`: of a block's weights at first. `active`: weights above zero."""

    size: int
    total: float
    active: int
    competing: bool  # whether one prompt's logit moves the weights of others


GATES = {
    "linear": Expected(LINEAR, 1, PROMPTS, True),
    "linear_mean": Expected(LINEAR, PROMPTS, PROMPTS, True),
    "topk": Expected(LINEAR, 1, PROMPTS // 2, True),
    "hard": Expected(LINEAR, 1, 1, True),
    "sigmoid": Expected(LINEAR, 1, PROMPTS, False),
    "mlp": Expected(HIDDEN + WIDTH * PROMPTS + PROMPTS, 1, PROMPTS, True),
    "uniform": Expected(0, 1, PROMPTS, False),
    "none": Expected(0, PROMPTS, PROMPTS, False),
}


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(CONFIG_DIR, "gate").glob("*.yaml")))
@torch.no_grad()
def test_a_gate_of_the_configs_is_what_its_name_says(name):
    expected = GATES[name]
    gate = instantiate(config(f"gate={name}").gate)(width=WIDTH, prompts=PROMPTS)
    kept = {key: value for key, value in gate.named_parameters() if key not in gate.training_only}
    assert sum(value.numel() for value in kept.values()) == expected.size
    assert_close(gate(E, BLOCKS).weights.sum(-1).unique(), torch.tensor([float(expected.total)]))

    for number, value in enumerate(kept.values()):
        value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(number)))
    weights = gate(E, BLOCKS).weights
    assert ((weights > 0).sum(-1) == expected.active).all()
    assert (weights.std(-1) > 0).all() == bool(kept)  # what learns nothing weighs all the same
    if expected.competing:
        assert_close(weights.sum(-1), torch.full((2, 3), float(expected.total)))

    for key, value in kept.items():
        if key.endswith("bias") and len(value) == PROMPTS:
            value[0] += 100
    moved = gate(E, BLOCKS).weights
    assert torch.equal(moved[..., 1:], weights[..., 1:]) != expected.competing
