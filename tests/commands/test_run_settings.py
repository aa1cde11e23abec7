"""`run=DIR` brings the settings of a run, and nothing that says where files go or what is called."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError

from dmp_lightning.commands.checks.acting import keys_of
from dmp_lightning.commands.errors import explanation
from dmp_lightning.commands.run_settings import arguments_of_run, with_run
from dmp_lightning.files import write_json
from dmp_lightning.user_error import UserError
from tests.configs import config


def make_run(folder: Path, **changes: object) -> Path:
    """The folder of a run of other settings than the default's."""
    settings = OmegaConf.to_container(
        config("method=lora", "sampler=ddpm", "name=other", "seed=7", "run_dir=elsewhere", "backbone.weights=w.pt"),
        resolve=True,
    )
    assert isinstance(settings, dict)
    write_json({"config": settings | changes}, folder / "begun.json")
    (folder / "patch.safetensors").touch()
    return folder


def composed(*arguments: str, name: str = "sample") -> DictConfig:
    """The config that a command works with."""
    given = arguments_of_run(list(arguments))
    return with_run(config(*given, "run_dir=here", name=name), keys_of(given))


def test_the_settings_are_the_runs_and_the_places_are_not(tmp_path: Path) -> None:
    found = composed(f"run={make_run(tmp_path)}")
    assert (found.name, found.seed, found.method.rank, found.sampler.steps) == ("other", 7, 8, 250)
    assert found.backbone.weights == "w.pt"
    assert found.patch == str(tmp_path / "patch.safetensors")
    assert found.run_dir == "here"
    assert found.logger.csv.path == "here/metrics.csv"


def test_what_is_typed_beats_the_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    typed = ["seed=1", "sampler.steps=3", "method.rank=2", "sampler=ddim", "patch=mine.safetensors", "name=mine"]
    found = composed(f"run={folder}", *typed)
    assert (found.seed, found.method.rank, found.name) == (1, 2, "mine")
    assert (found.sampler.steps, found.sampler.scheduler.solver_order) == (3, 1)
    assert found.patch == "mine.safetensors"


def test_without_a_run_nothing_changes() -> None:
    assert arguments_of_run(["seed=1", "run=null"]) == ["seed=1", "run=null"]
    assert composed("seed=1").seed == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run=nowhere"], "There is no run at nowhere: name the folder"),
        (["run={folder}", "+experiment=ffhq_dit_l2"], "brings its own settings: leave out +experiment=ffhq_dit_l2"),
        (["run={folder}", "method.prompt_count=4"], "has no method.prompt_count"),
        (["run={reference}"], "holds references"),
        (["run={list}"], "holds no settings"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: list[str], message: str) -> None:
    places = {"folder": make_run(tmp_path / "run"), "reference": make_run(tmp_path / "b", name="${oc.env:HOME}")}
    write_json({"config": [1]}, tmp_path / "list" / "begun.json")
    given = [each.format(**places, list=tmp_path / "list") for each in arguments]
    with pytest.raises((UserError, ConfigAttributeError)) as caught:
        composed(*given)
    assert message in explanation(caught.value)


def test_an_export_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no checkpoint to export"):
        composed(f"run={make_run(tmp_path)}", name="export")
