"""A run that is killed or interrupted anywhere and resumed leaves what one leaves that was left alone."""

import random
import re
import signal
from pathlib import Path

import pytest

from dmp_lightning.runs.folder import is_whole, latest_in
from tests.crashes import RUN, STEPS, Crash, any_crash, execute, left_by
from tests.training.offline_run import read_offline_runs


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted run leaves."""
    folder = tmp_path_factory.mktemp("untouched")
    execute(folder)
    return left_by(folder)


@pytest.mark.parametrize(
    ("crash", "workers"),
    [
        (Crash("training step", 7), 2),
        pytest.param(Crash("saving", 3), 0, marks=pytest.mark.slow),
        pytest.param(Crash("validation step", 15), 0, marks=pytest.mark.slow),
        pytest.param(Crash("generating", 6), 0, marks=pytest.mark.slow),
        *(pytest.param(any_crash(random.Random(n)), n % 3, marks=pytest.mark.slow) for n in range(3)),
        pytest.param(Crash("training step", 1), 0, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_killed_run_resumes_bit_for_bit(
    crash: Crash, workers: int, expected: dict[str, bytes], tmp_path: Path
) -> None:
    execute(tmp_path, f"data.workers={workers}", crash=crash)
    execute(tmp_path, f"data.workers={workers}")
    assert left_by(tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "time", "saved", "number"),
    [
        (*place, number)
        for place in (("training step", 6, 6), ("generating", 4, 3))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    ],
)
def test_an_interrupted_run_saves_and_says_how_to_go_on(
    point: str, time: int, saved: int, number: int, expected: dict[str, bytes], tmp_path: Path
) -> None:
    interrupted = execute(tmp_path, crash=Crash(point, time, number))
    command = re.search(r"To resume: python -m dmp_lightning.train .*resume=(\S+)", interrupted.stderr)
    assert command is not None
    assert command[1].endswith(f"step-{saved}.ckpt")
    execute(tmp_path, f"resume={command[1]}")
    assert left_by(tmp_path) == expected


@pytest.mark.slow
def test_a_killed_run_goes_on_in_the_same_wandb_run(expected: dict[str, bytes], tmp_path: Path) -> None:
    execute(tmp_path, "logger=wandb_csv", crash=Crash("training step", 7))
    execute(tmp_path, "logger=wandb_csv")
    killed, resumed = read_offline_runs(tmp_path / RUN)
    assert killed.id == resumed.id
    assert (killed.project, killed.group) == (resumed.project, resumed.group) == ("dmp-lightning", "digits")
    logged = [[row["trainer/global_step"] for row in run.history if "train/loss" in row] for run in (killed, resumed)]
    assert logged[1] == list(range(logged[1][0], STEPS))
    assert 0 < logged[1][0] <= 6  # it begins where the last checkpoint was taken
    assert logged[0] == list(range(len(logged[0])))
    assert left_by(tmp_path) == expected


@pytest.mark.slow
def test_a_truncated_checkpoint_is_passed_over(
    expected: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    execute(tmp_path, crash=Crash("training step", 10))
    before, last = sorted(tmp_path.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    last.write_bytes(last.read_bytes()[:5000])
    assert not is_whole(last)
    assert latest_in(tmp_path / RUN) == before
    assert str(last) in caplog.text
    execute(tmp_path)
    assert left_by(tmp_path) == expected


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(expected: dict[str, bytes], tmp_path: Path) -> None:
    execute(tmp_path)
    (results,) = tmp_path.rglob("results.json")
    results.unlink()
    execute(tmp_path)
    assert left_by(tmp_path) == expected
    assert "frechet_pixels_change" in results.read_text()
    assert {path.name for path in tmp_path.rglob("*.ckpt")} == {f"step-{STEPS - 1}.ckpt", f"step-{STEPS}.ckpt"}
