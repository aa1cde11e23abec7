import json
import logging
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmp_lightning.runs import record as module
from dmp_lightning.runs.record import Results, commit, provenance, read_results, write_results
from dmp_lightning.runs.said import SaidBase, SaidMeasure, SaidMethod


@pytest.fixture
def results() -> Results:
    return Results(
        name="digits",
        base=SaidBase("digits_dit", 69096, {"backbone.weights": "a.safetensors"}),
        measure=SaidMeasure("frechet_pixels", 1437, 64, [], {"features": "Pixels"}),
        method=SaidMethod("mine", "mixture of prompts (DMP)", 2080, {"method": "DMP"}),
        sweep="gates",
        axes={"gate": "linear", "rate": 0.5},
        config={"optimiser": {"rates": [1e-4, 1e-3]}, "compile": False, "weights": None},
        seeds={"training": 1, "evaluation": 0},
        metrics={"frechet/classifier": 0.25, "steps": 100},
        **provenance("cpu"),
    )


def test_what_was_written_is_read_back(results: Results, tmp_path: Path) -> None:
    path = write_results(results, tmp_path / "new" / "results.json")
    assert read_results(path) == results
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_arrays_and_paths_become_plain(results: Results, tmp_path: Path) -> None:
    held = replace(results, metrics={"array": np.arange(3.0), "scalar": np.float32(0.5), "path": Path("a/b")})
    metrics = read_results(write_results(held, tmp_path / "results.json")).metrics
    assert metrics == {"array": [0.0, 1.0, 2.0], "scalar": 0.5, "path": "a/b"}


def test_what_is_no_number_is_null_and_told(results: Results, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    held = replace(results, metrics={"loss": float("nan"), "curve": np.array([1.0, np.inf])})
    with caplog.at_level(logging.WARNING):
        path = write_results(held, tmp_path / "results.json")
    assert json.loads(path.read_text())["metrics"] == {"loss": None, "curve": [1.0, None]}
    assert "results.metrics.loss is nan" in caplog.text
    assert "results.metrics.curve[1] is inf" in caplog.text


def test_what_json_cannot_hold_is_named(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"results\.config\.gate\[0\] is a function"):
        write_results(replace(results, config={"gate": [commit]}), tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_record_and_nothing_else(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_results(results, tmp_path / "results.json")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_results(replace(results, name="other"), path)
    assert read_results(path) == results
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "is not the record of a run"),
        (
            '{"schema": 1, "name": "a", "method": "dmp", "rows": []}',
            "is not in results schema 2, which this version reads: ",
        ),
        ('{"schema": 99}', "is not in results schema 2"),
        ('{"schema": 2, "name": "a", "extra": 1}', "axes, base, command, commit, config, extra, machine"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_results(path)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There are no results at .*absent\.json"):
        read_results(tmp_path / "absent.json")


def test_the_commit_is_that_of_the_checkout_that_tracks_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "package"
    (package / "reporting").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(module, "__file__", str(package / "reporting" / "results.py"))
    assert commit() == "dmp_lightning 0.1.0"

    git("init")
    git("commit", "--allow-empty", "--message", "somebody else's checkout")
    assert commit() == "dmp_lightning 0.1.0"

    git("add", ".")
    git("commit", "--message", "ours")
    assert commit() == git("rev-parse", "HEAD")

    (package / "__init__.py").write_text("changed = True")
    assert commit() == git("rev-parse", "HEAD") + "-dirty"
