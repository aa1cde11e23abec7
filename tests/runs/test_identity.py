"""The table of config keys: it covers every config, and what kept measurements depend on cannot get lost."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from dmp_lightning.commands.base_results import base_key
from dmp_lightning.commands.cli import CONFIG_DIR
from dmp_lightning.commands.earlier import elsewhere, settings_of
from dmp_lightning.data.digits import Digits
from dmp_lightning.data.stream import DiffusionData
from dmp_lightning.runs.identity import MEASURED, ROLES, Role, leaves, role_of, settings
from dmp_lightning.user_error import UserError
from tests.configs import config


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return settings_of(config("run_dir=runs/test"))


@cache
def data() -> DiffusionData:
    return DiffusionData(Digits(True), Digits(False), batch_size=1, workers=0, seed=0)


def key_of(told: dict[str, Any]) -> str:
    return base_key(told, "base", "features", data())


def changed(told: dict[str, Any], key: str, value: Any = "another") -> dict[str, Any]:
    copy = OmegaConf.create(told)
    OmegaConf.update(copy, key, value, force_add=True)
    return settings_of(copy)


@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "export"])
def test_every_key_of_a_command_has_a_role(command: str) -> None:
    composed = config("run_dir=runs/test", name=command)
    assert not [key for key, _ in leaves(settings_of(composed)) if role_of(key) is None]


FILES = sorted(str(path.relative_to(CONFIG_DIR)) for path in Path(CONFIG_DIR).glob("*/*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_every_key_of_every_file_of_a_group_has_a_role(name: str) -> None:
    path = Path(CONFIG_DIR, name)
    content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(content, dict)
    found = {str(key): value for key, value in content.items() if key not in ("defaults", "hydra")}
    placed = found if "@package _global_" in path.read_text() else {path.parent.name: found}
    assert not [key for key, _ in leaves(placed) if key and role_of(key) is None]


def test_every_key_of_the_table_is_in_a_config() -> None:
    """An entry that names nothing would hide a misspelt one. Of Lightning's options not all are given, and
    some groups are only chosen."""
    typed = {
        "experiment",
        "launcher",
        "trainer.benchmark",
        "trainer.detect_anomaly",
        "trainer.deterministic",
        "trainer.profiler",
    }
    typed |= {"trainer.inference_mode", "trainer.enable_progress_bar"}
    held = {key for command in ("train", "evaluate", "sample", "export") for key in _keys(name=command)}
    held |= {*_keys("data=ffhq"), *_keys("backbone=diffusers"), *_keys("data=captioned"), *_keys("data=emoji")}
    prefixes = {".".join(key.split(".")[:depth]) for key in held for depth in range(1, key.count(".") + 2)}
    assert ROLES.keys() - prefixes == typed


def _keys(*overrides: str, name: str = "train") -> list[str]:
    composed = config(*overrides, "run_dir=runs/test", name=name)
    return [key for key, _ in leaves(OmegaConf.to_container(composed, resolve=False))]


def test_what_is_measured_of_a_base_depends_on_what_it_did(told: dict[str, Any]) -> None:
    held = {key for key, _ in leaves(told)}
    groups = ("backbone.model", "diffusion", "sampler", "features", "evaluation")
    decisive = {key for key in held if key.startswith(tuple(f"{group}." for group in groups))}
    decisive |= {"trainer.precision", "matmul_precision"}
    assert decisive == settings(told, MEASURED).keys()
    assert len({key_of(changed(told, key)) for key in decisive} | {key_of(told)}) == len(decisive) + 1


def test_it_does_not_depend_on_the_rest(told: dict[str, Any]) -> None:
    rest = [key for key, _ in leaves(told) if role_of(key) not in MEASURED]
    assert len(rest) > 30
    assert {key_of(changed(told, key)) for key in rest} == {key_of(told)}


@pytest.mark.parametrize("group", ["diffusion", "sampler", "features", "evaluation", "matmul_precision"])
def test_a_renamed_group_is_an_error_and_not_an_equal_key(group: str, told: dict[str, Any]) -> None:
    renamed = {"process" if key == group else key: value for key, value in told.items()}
    with pytest.raises(UserError, match="an unknown key process"):
        key_of(renamed)
    lacking = {key: value for key, value in told.items() if key != group}
    with pytest.raises(UserError, match=f"lacks {group}"):
        key_of(lacking)


def test_the_longest_entry_counts_and_names_are_not_cut() -> None:
    assert (role_of("evaluation.seed"), role_of("evaluation.strata")) == (Role.SAMPLES, Role.MEASURE)
    assert role_of("evaluation.guidance.interval") is Role.SAMPLES
    assert role_of("seeding") is None
    assert role_of("named.seed") is None


def test_a_sweep_over_what_changes_no_finding_still_has_a_folder_for_each_value() -> None:
    assert elsewhere("run_dir=somewhere")
    assert elsewhere("+trainer.strategy=ddp")
    assert not elsewhere("data.workers=2")
    assert not elsewhere("compile=true")
