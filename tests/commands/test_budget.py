"""A method at equal cost: as many steps as fit into another's seconds."""

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dmp_lightning.commands import budget
from dmp_lightning.commands.budget import reference_seconds
from dmp_lightning.commands.train import train
from dmp_lightning.training.module import DiffusionModule
from tests.configs import config, small


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 20 ms at least, and a trial of a dozen."""
    step = DiffusionModule.training_step

    def slow(self: DiffusionModule, batch: object) -> object:
        time.sleep(0.02)
        return step(self, batch)

    monkeypatch.setattr(DiffusionModule, "training_step", slow)
    monkeypatch.setattr(budget, "WARM_UP", 3)
    monkeypatch.setattr(budget, "TIMED", 9)


@pytest.mark.slow
@pytest.mark.usefixtures("slow_steps")
@pytest.mark.parametrize("method", ["full_finetune", pytest.param("lora", marks=pytest.mark.slow)])
def test_seconds_become_steps_and_the_trial_leaves_no_trace(method: str, tmp_path: Path) -> None:
    options = [f"method={method}", "recipe.ema_decay=0.5", "recipe.validate_every=6", "recipe.checkpoint_every=4"]
    timed = train(small(tmp_path / "timed", *options, "budget=seconds", "budget.seconds=0.5"))
    record = json.loads((tmp_path / "timed" / "results.json").read_text())
    step = json.loads((tmp_path / "timed" / "budget.json").read_text())["seconds_per_step"]
    steps = record["config"]["recipe"]["max_steps"]
    assert 0.02 < step < 0.5 / (steps - 0.5)
    assert record["config"]["recipe"]["lr_scheduler"]["T_max"] == steps
    assert 0.02 * steps < record["metrics"]["final"]["training_seconds"] < 2.5
    plain = train(small(tmp_path / "plain", *options, f"recipe.max_steps={steps}"))
    assert (timed["loss"], timed["frechet_pixels"]) == (plain["loss"], plain["frechet_pixels"])
    one, other = (load_file(tmp_path / name / "patch.safetensors") for name in ("timed", "plain"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.usefixtures("slow_steps")
def test_a_resumed_run_has_the_steps_of_its_first_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["budget=seconds", "budget.seconds=0.6", "recipe.checkpoint_every=1", "recipe.validate_every=100"]
    run = tmp_path / "run"
    first = train(small(run, *options))
    whole = load_file(run / "patch.safetensors")
    steps = json.loads((run / "results.json").read_text())["config"]["recipe"]["max_steps"]
    last = max(run.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
    last.unlink()
    monkeypatch.setattr(budget, "seconds_per_step", None)  # it must not be asked again
    assert train(small(run, *options, "resume=latest"))["loss"] == first["loss"]
    resumed = load_file(run / "patch.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert json.loads((run / "results.json").read_text())["config"]["recipe"]["max_steps"] == steps
    assert reference_seconds(config("budget=seconds", f"budget.of={run}/results.json").budget) == pytest.approx(
        json.loads((run / "results.json").read_text())["metrics"]["final"]["training_seconds"]
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "set either budget.seconds, or budget.of"),
        (["budget.seconds=3", "budget.of=results.json"], "set either budget.seconds, or budget.of"),
        (["budget.of=nowhere.json"], "no results at nowhere.json"),
    ],
)
def test_mistakes_are_told_before_any_work(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(small(tmp_path / "run", "budget=seconds", *overrides))
    assert not (tmp_path / "run" / "budget.json").exists()
