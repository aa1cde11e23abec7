"""What ships with the package: the weights are what their records say, and the controls are of the shipped base."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from safetensors import safe_open

from dmp_lightning.backbones import load_weights
from dmp_lightning.commands.resolvers import PACKAGE
from dmp_lightning.condition import Condition
from dmp_lightning.data.digits import Digits
from dmp_lightning.metrics.paired_loss import per_sample_losses, validation_draws
from dmp_lightning.runs.record import Results, read_results
from tests.configs import config

ASSETS = PACKAGE / "assets"
CONTROLS = [read_results(path) for path in sorted((ASSETS / "controls").glob("*.json"))]
WEIGHTS = ["digits_dit", "digits_dit_ema"]


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_base_is_small_and_says_what_made_it(name: str) -> None:
    path = ASSETS / f"{name}.safetensors"
    assert path.stat().st_size < 4e6
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert "digits_pretrain" in about["command"]
    assert len(about["commit"]) == 40


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_base_has_the_loss_that_the_controls_recorded(name: str) -> None:
    recorded = {round(record.metrics["base"]["loss"], 6) for record in CONTROLS if base_of(record) == name}
    assert len(recorded) == 1
    settings = config()
    backbone = load_weights(instantiate(settings.backbone.model), ASSETS / f"{name}.safetensors")
    held_out = Digits(False).read(range(360))
    process = instantiate(settings.diffusion)
    t, noise = validation_draws(settings.evaluation.seed, range(360), settings.evaluation.strata, process, (1, 8, 8))
    losses = per_sample_losses(backbone, process, held_out.x, Condition(torch.zeros(360).long()), t, noise)
    assert losses.mean().item() == pytest.approx(recorded.pop(), abs=2e-5)


def test_the_controls_are_those_of_the_default_and_of_three_seeds_each() -> None:
    seeds: dict[str, set[int]] = {}
    for record in CONTROLS:
        assert record.config["evaluation"] == CONTROLS[0].config["evaluation"]
        seeds.setdefault(record.method.label, set()).add(record.seeds["training"])
        assert "-dirty" not in record.commit
    assert seeds.pop("pre-trained, EMA weights") == {1}  # nothing is trained there
    assert {
        "mixture of prompts (DMP)",
        "plain prompt tuning",
        "full fine-tuning",
        "full fine-tuning, EMA",
    } <= seeds.keys()
    assert all(found == {1, 2, 3} for found in seeds.values())


def base_of(record: Results) -> str:
    """Which of the shipped weights a control started from."""
    return Path(record.config["backbone"]["weights"]).stem
