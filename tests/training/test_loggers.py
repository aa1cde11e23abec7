import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dmp_lightning.training.loggers import last_run_id
from tests.training.offline_run import read_offline_runs

KEY = "0123456789" * 4
JOBS = """
import numpy as np
from dmp_lightning.training.loggers import finish, wandb_logger

def job(name, value):
    logger = wandb_logger("project", name, "group", ["tag"], f"runs/{name}")
    logger.log_hyperparams({"optimiser": {"rate": 0.5}})
    logger.log_metrics({"val/loss": value}, step=10)
    logger.log_metrics({"val/loss": value / 2}, step=20)
    logger.log_image("val/samples", [np.full((8, 8), 255, np.uint8)], step=20)
    finish()

job("first", 1.0)
job("second", 3.0)
job("first", 0.25)
"""


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code as on a machine where nobody has an account, and nobody is there to be asked."""
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and "WANDB" not in name}
    clean |= {"HOME": str(folder), "NETRC": str(folder / "netrc")} | environment
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=folder, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )


def test_without_a_key_each_job_is_an_offline_run_that_holds_all_that_was_logged(tmp_path: Path) -> None:
    done = python(JOBS, tmp_path)
    assert done.returncode == 0, done.stderr
    first, resumed = read_offline_runs(tmp_path / "runs" / "first")
    (second,) = read_offline_runs(tmp_path / "runs" / "second")

    assert (first.name, first.project, first.group, first.tags) == ("first", "project", "group", ["tag"])
    assert first.config["optimiser"] == {"rate": 0.5}
    assert first.column("val/loss") == [1.0, 0.5]
    assert first.column("trainer/global_step") == [10, 20, 20]
    assert first.summary["val/loss"] == {"min": 0.5, "last": 0.5}
    (picture,) = first.media
    assert Image.open(picture).getextrema() == (255, 255)

    assert second.id != first.id
    assert second.column("val/loss") == [3.0, 1.5]
    assert resumed.id == first.id
    assert resumed.column("val/loss") == [0.25, 0.125]

    lines = [line for line in done.stderr.splitlines() if "wandb sync" in line]
    folders = [line.split("wandb sync ")[1] for line in lines]
    assert "no W&B key is configured" in lines[0]
    assert folders == [f"runs/{run.name}/wandb/*-{run.id}" for run in (first, second, resumed)]
    assert set(tmp_path.glob(folders[1])) == {second.folder}


NAMED = """
from dmp_lightning.training.loggers import finish, wandb_logger

sweep = {"name": "gates", "axes": {"gate": "hard"}}
for group in ("theirs", "own"):
    logger = wandb_logger("project", "name", group, [], f"runs/{group}", sweep)
    print(logger.experiment.entity, logger.experiment.notes)
    finish()
"""


@pytest.mark.slow
def test_names_from_the_environment_are_honoured(tmp_path: Path) -> None:
    given = {"WANDB_RUN_GROUP": "theirs", "WANDB_TAGS": "a,b", "WANDB_ENTITY": "lab", "WANDB_NOTES": "try"}
    done = python(NAMED, tmp_path, WANDB_MODE="offline", **given)
    assert done.returncode == 0, done.stderr
    assert "lab try" in done.stdout
    (theirs,), (own,) = (read_offline_runs(tmp_path / "runs" / group) for group in ("theirs", "own"))
    assert (theirs.group, theirs.tags) == ("theirs", ["a", "b", "gate=hard"])
    assert own.group == "own-gates"


@pytest.mark.slow
def test_a_key_and_no_network_is_an_offline_run_that_does_not_tell_the_key(tmp_path: Path) -> None:
    done = python(JOBS, tmp_path, WANDB_API_KEY=KEY, HTTPS_PROXY="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert len(read_offline_runs(tmp_path / "runs" / "first")) == 2
    assert "does not answer" in done.stderr
    assert KEY not in done.stdout + done.stderr
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert all(KEY.encode() not in path.read_bytes() for path in files)


@pytest.mark.slow
def test_online_without_a_key_stops_with_the_remedy(tmp_path: Path) -> None:
    done = python(JOBS, tmp_path, WANDB_MODE="online")
    assert "UserError: WANDB_MODE=online, but no W&B key is configured, see `wandb login`" in done.stderr


@pytest.mark.slow
def test_settings_that_wandb_refuses_are_told_by_name(tmp_path: Path) -> None:
    line = "from dmp_lightning.training.loggers import wandb_logger; wandb_logger('project', 'name', None, ['x' * 80])"
    done = python(line, tmp_path, WANDB_MODE="offline")
    assert "UserError: W&B refuses run_tags: " in done.stderr
    assert "80 characters" in done.stderr


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ([], None),
        (["run-20260102_000000-bbbb", "offline-run-20260101_000000-aaaa"], "bbbb"),
        (["run-20260101_000000-aaaa", "offline-run-20260102_000000-bbbb", "latest-run"], "bbbb"),
    ],
)
def test_the_last_run_is_found_by_its_time(tmp_path: Path, folders: list[str], expected: str | None) -> None:
    for folder in folders:
        (tmp_path / "wandb" / folder).mkdir(parents=True)
    assert last_run_id(tmp_path) == expected
