"""`experiments/table.py --against`: two lines seed by seed, with both noises where records hold what that needs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dmp_lightning.reports.comparison import build_lines
from dmp_lightning.runs.records import read_folder
from tests.reports.made import CHANGES, record, write

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
METRIC = "frechet_digits_classifier"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """experiments/table.py."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    import table

    yield table
    sys.modules.pop("table")


def write_lines(folder: Path) -> None:
    """Two gates of three seeds each, whose records hold their changes of distance and loss without each group."""
    for kind in ("linear", "topk"):
        for seed, change in enumerate(CHANGES[kind], start=1):
            made = record(kind, seed, change, sweep={"name": "gate_type", "axes": {"gate": kind}})
            made["metrics"]["final"][f"{METRIC}_change"]["groups"] = (change + noise(kind, seed)).tolist()
            made["metrics"]["final"]["loss_difference"]["groups"] = ((change + noise(kind, seed)) / 1000).tolist()
            write(folder / f"{kind}-{seed}.json", made)


def noise(kind: str, seed: int) -> np.ndarray:
    return np.random.default_rng([len(kind), seed]).normal(0, 0.2, 20)


def columns(table: ModuleType, folder: Path) -> dict[str, str]:
    """What the line of the gate `topk` has in each column that compares it with `linear`."""
    _, lines = build_lines(read_folder(folder).runs, [])
    topk = next(line for line in lines if line.axes["gate"] == "topk")
    return {name: show(topk) for name, show in table.against(["linear"], lines).items()}


def expected(own: bool, unit: float = 1.0) -> list[float]:
    """Mean and ends of `topk` minus `linear` by SciPy, with or without the samples' `own` noise."""
    differences = np.subtract(CHANGES["topk"], CHANGES["linear"]) * unit
    margin = stats.t.ppf(0.975, 2) * stats.sem(differences)
    if own:
        without = [(noise("topk", seed) - noise("linear", seed)) * unit for seed in (1, 2, 3)]
        variances = [19 / 20 * ((groups - groups.mean()) ** 2).sum() for groups in without]
        margin = np.hypot(margin, stats.t.ppf(0.975, 19) * np.mean(variances) ** 0.5)
    return [differences.mean(), differences.mean() - margin, differences.mean() + margin]


def text(values: list[float], form: str) -> str:
    mean, low, high = (format(value, form).replace("-", "−") for value in values)
    return f"{mean} [{low}, {high}]"


def test_the_interval_holds_the_noise_of_seeds_and_of_samples(table: ModuleType, tmp_path: Path) -> None:
    write_lines(tmp_path)
    assert expected(own=True)[2] > expected(own=False)[2] + 0.1
    assert columns(table, tmp_path) == {
        "distance − that of linear [95%]": text(expected(own=True), "+.1f"),
        "loss − that of linear [95%]": text(expected(own=True, unit=1e-3), "+.4f"),
    }


def without_groups(made: dict[str, Any]) -> None:
    del made["metrics"]["final"][f"{METRIC}_change"]["groups"]


def from_an_older_checkpoint(made: dict[str, Any]) -> None:
    made["metrics"]["final"][f"{METRIC}_change"]["groups"] = None


def with_a_missing_number(made: dict[str, Any]) -> None:
    made["metrics"]["final"][f"{METRIC}_change"]["groups"][3] = None


def of_other_groups(made: dict[str, Any]) -> None:
    made["metrics"]["final"][f"{METRIC}_change"]["groups"].pop()


@pytest.mark.parametrize("spoil", [without_groups, from_an_older_checkpoint, with_a_missing_number, of_other_groups])
def test_where_one_record_lacks_them_the_column_is_of_seeds_alone(
    table: ModuleType, tmp_path: Path, spoil: Any
) -> None:
    write_lines(tmp_path)
    path = tmp_path / "linear-2.json"
    made = json.loads(path.read_text())
    spoil(made)
    write(path, made)
    assert columns(table, tmp_path) == {
        "distance − that of linear [95%, seeds alone]": text(expected(own=False), "+.1f"),
        "loss − that of linear [95%]": text(expected(own=True, unit=1e-3), "+.4f"),
    }
