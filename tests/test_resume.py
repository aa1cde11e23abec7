"""A run that is killed or interrupted anywhere and resumed leaves what one leaves that was left alone."""

import random
import re
import signal
from pathlib import Path

import pytest

from dmp_lightning.checkpoints import is_whole, latest_checkpoint
from tests.crashes import OPTIONS, STEPS, Crash, any_crash, crash_and_resume, execute, left_by


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted run leaves."""
    folder = tmp_path_factory.mktemp("untouched")
    assert execute(folder, OPTIONS) == 0, (folder / "log.txt").read_text()[-3000:]
    return left_by(folder)


@pytest.mark.parametrize(
    ("crash", "workers"),
    [
        (Crash("training step", 7), 2),
        (Crash("validation step", 15), 0),
        (Crash("generating", 6), 0),
        (Crash("saving", 3), 0),
        (Crash("training step", 1), 0),
        *((any_crash(random.Random(seed)), seed % 3) for seed in range(3)),
    ],
    ids=str,
)
def test_a_killed_run_resumes_bit_for_bit(
    crash: Crash, workers: int, expected: dict[str, bytes], tmp_path: Path
) -> None:
    crash_and_resume(tmp_path, [*OPTIONS, f"data.workers={workers}"], crash)
    assert left_by(tmp_path) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("point", "time", "saved"), [("training step", 6, 6), ("generating", 4, 3)])
def test_an_interrupted_run_saves_and_says_how_to_go_on(
    point: str, time: int, saved: int, number: int, expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert execute(tmp_path, OPTIONS, Crash(point, time, number)) == 128 + number
    log = (tmp_path / "log.txt").read_text()
    command = re.search(r"To go on: python -m dmp_lightning.train .*resume=(\S+)", log)
    assert command is not None
    assert command[1].endswith(f"step-{saved}.ckpt")
    assert execute(tmp_path, [*OPTIONS, f"resume={command[1]}"]) == 0
    assert left_by(tmp_path) == expected


def test_a_truncated_checkpoint_is_passed_over(
    expected: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    execute(tmp_path, OPTIONS, Crash("training step", 10))
    before, last = sorted(tmp_path.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    last.write_bytes(last.read_bytes()[:5000])
    assert not is_whole(last)
    assert latest_checkpoint(tmp_path / "runs") == before
    assert str(last) in caplog.text
    assert execute(tmp_path, [*OPTIONS, "resume=latest"]) == 0
    assert left_by(tmp_path) == expected


def test_resuming_a_finished_run_changes_nothing(expected: dict[str, bytes], tmp_path: Path) -> None:
    assert execute(tmp_path, OPTIONS) == 0
    (results,) = tmp_path.rglob("results.json")
    results.unlink()
    assert execute(tmp_path, [*OPTIONS, "resume=latest"]) == 0
    assert left_by(tmp_path) == expected
    assert "frechet_pixels_change" in results.read_text()
    assert {path.name for path in tmp_path.rglob("*.ckpt")} == {f"step-{STEPS - 1}.ckpt", f"step-{STEPS}.ckpt"}
