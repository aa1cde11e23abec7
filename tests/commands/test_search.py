"""The search: what it draws, how it goes on, and that runs which fall behind are ended early."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import lightning as L
import optuna
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from safetensors.torch import save_file

from dmp_lightning.commands.search import STUDY, Pruning, Search, open_study, search_space
from dmp_lightning.commands.sweeps import Ended, Pruned
from hydra_plugins.dmp_lightning_sweepers import SearchSweeper
from tests.configs import SMALL, config, random_base
from tests.processes import command

SPACE = {"rate": FloatDistribution(1e-4, 1e-1, log=True), "gate": CategoricalDistribution(["linear", "mlp"])}


def search(folder: Path, seed: int = 0) -> Search:
    return Search(folder / STUDY, SPACE, ["recipe.max_steps=4"], seed, startup=2)


def run(found: Search, count: int, stop_after: int = 99, size: int = 1) -> list[list[str]]:
    """Draw up to `count` trials, and tell each a loss that its rate decides; stop as if killed before telling one."""
    drawn = []
    for batch in found.batches(count, size):
        for trial in batch:
            drawn.append(trial.overrides)
            if len(drawn) > stop_after:
                return drawn
            rate = float(trial.overrides[0].removeprefix("rate="))
            found.tell(trial, Ended("done", Path(), {"loss_difference": abs(rate - 0.01)}))
    return drawn


def test_the_space_is_said_in_the_words_of_hydra() -> None:
    words = [
        "a=int(interval(1,8))",
        "b=tag(log,interval(1e-4,1e-1))",
        "gate=linear,mlp",
        "d=range(1,4)",
        "e=5",
        "+f.g=x,y",
    ]
    found = search_space(OverridesParser.create().parse_overrides(words))
    assert found == {
        "a": IntDistribution(1, 8),
        "b": FloatDistribution(1e-4, 1e-1, log=True),
        "gate": CategoricalDistribution(["linear", "mlp"]),
        "d": CategoricalDistribution(["1", "2", "3"]),
        "+f.g": CategoricalDistribution(["x", "y"]),
    }


@pytest.mark.parametrize("size", [1, 2])
def test_a_search_that_was_stopped_draws_what_it_would_have_drawn(size: int, tmp_path: Path) -> None:
    whole = run(search(tmp_path / "whole"), 6, size=size)
    assert len({tuple(overrides) for overrides in whole}) == 6
    before = run(search(tmp_path / "stopped"), 6, stop_after=3, size=size)
    after = run(search(tmp_path / "stopped"), 6, size=size)
    assert before == whole[:4]
    assert after == whole[3:]  # the one it was at, again, and the others
    assert run(search(tmp_path / "stopped"), 6) == []
    assert run(search(tmp_path / "other", seed=100), 1) != whole[:1]


def test_a_trial_that_failed_is_tried_again_and_one_that_was_pruned_is_not(tmp_path: Path) -> None:
    found = search(tmp_path)
    first, second, third = next(found.batches(3, 3))
    for trial, state in ((first, "failed"), (second, "pruned"), (third, "done")):
        found.tell(trial, Ended(state, Path(), {"loss_difference": -0.5} if state == "done" else {}))
    again = search(tmp_path)
    assert list(again.batches(3, 3)) == [[first]]
    assert again.finished() == [second, third]
    assert again.best() == f"The best of 1 is trial 2: loss_difference -0.5, with {' '.join(third.overrides)}"


def test_what_cannot_be_searched_is_told(tmp_path: Path) -> None:
    search(tmp_path)
    with pytest.raises(ValueError, match=r"holds a search of other settings: delete its folder, or set sweep\.name="):
        search(tmp_path, seed=1)
    with pytest.raises(ValueError, match="nothing to search"):
        Search(tmp_path / "empty", {}, [], 0, 1)
    (trial,) = next(search(tmp_path).batches(1, 1))
    with pytest.raises(ValueError, match="choose a method that trains"):
        search(tmp_path).tell(trial, Ended("done", tmp_path, {"loss": 1.0}))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["sweeper=optuna", "method=lora"], "say what to search of another method"),
        (["sweeper=optuna", "+sweep=gate_type"], r"leave out \+sweep=\.\.\., or sweeper=optuna"),
    ],
)
def test_a_search_of_nothing_that_acts_is_refused(line: list[str], told: str, tmp_path: Path) -> None:
    ended = command(tmp_path, line)
    assert ended.code == 1
    assert re.search(told, ended.stderr.splitlines()[-1])


def test_what_is_typed_is_searched_instead_of_the_default() -> None:
    sweeper: Any = SimpleNamespace(
        config=OmegaConf.create({"method": {"_target_": "dmp_lightning.methods.DMP"}}),
        hydra_context=SimpleNamespace(config_loader=None),
        _parse_config=lambda: ["recipe.learning_rates.prompts=interval(1e-4,1e-1)"],
    )
    searched = [
        search_space(SearchSweeper._overrides(sweeper, ["seed=1", *typed]).values()).keys()
        for typed in ([], ["gate=linear,mlp"])
    ]
    assert searched == [{"recipe.learning_rates.prompts"}, {"gate"}]


def test_a_run_is_pruned_where_it_is_worse_than_the_median_at_the_same_step(tmp_path: Path) -> None:
    study = open_study(tmp_path / STUDY, startup=2)
    for loss in (1.0, 2.0):
        trial = study.ask()
        trial.report(9.0, step=5)
        trial.report(loss, step=10)
        study.tell(trial, loss)

    def validate(trial: optuna.Trial, step: int, loss: float, stage: str = "fit") -> None:
        state = SimpleNamespace(fn=stage)
        trainer = Mock(spec=L.Trainer, state=state, global_step=step, max_steps=20, sanity_checking=False)
        trainer.callback_metrics = {"val/loss_difference_mean": torch.tensor(loss)}
        Pruning(trial, "val/loss_difference_mean").on_validation_end(trainer, L.LightningModule())

    validate(study.ask(), 10, 1.4)
    validate(study.ask(), 20, 9.0)  # the end
    validate(study.ask(), 10, 9.0, "validate")  # of the base
    with pytest.raises(Pruned, match="after 10 steps"):
        validate(study.ask(), 10, 1.6)


def test_a_search_validates_often_enough_to_prune() -> None:
    for experiment in ([], ["+experiment=ffhq_dit_l2"]):
        recipe = config(*experiment, "sweeper=optuna").recipe
        assert recipe.validate_every == recipe.max_steps // 5
    assert config("sweeper=optuna", "recipe.max_steps=2").trainer.val_check_interval == 1
    assert config("sweeper=optuna", "recipe.validate_every=7").trainer.val_check_interval == 7


@pytest.mark.slow
def test_a_search_prunes_and_goes_on(tmp_path: Path) -> None:
    save_file(random_base(), tmp_path / "base.safetensors")
    short = ["evaluation.samples=20", "recipe.max_steps=4", "recipe.validate_every=2", "logger=csv"]
    line = [*SMALL, *short, "backbone.weights=base.safetensors", "sweeper=optuna", "sweep.startup_trials=1"]
    refused = command(tmp_path, [*line, "trainer.devices=2", "hydra.sweeper.n_trials=1"])
    assert refused.code == 1
    assert "set trainer.devices=1" in next(tmp_path.rglob("failed.json")).read_text()
    first = command(tmp_path, [*line, "hydra.sweeper.n_trials=3"])
    assert first.code == 0, first.stderr
    assert first.stdout.splitlines()[-1] == "runs/digits/sweep-optuna: 2 done, 0 skipped, 1 pruned, 0 failed."
    second = command(tmp_path, [*line, "hydra.sweeper.n_trials=4", "launcher=joblib"])
    assert second.code == 0, second.stderr
    assert "3 skipped" in second.stdout.splitlines()[-1]
    assert len(list(tmp_path.glob("runs/digits/sweep-optuna/*/results.json"))) >= 2
