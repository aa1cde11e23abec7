"""Ctrl-C at any moment: an answer within seconds, one line, exit code 130, no stack, and nothing half-written."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.configs import SMALL, patch_of_digits
from tests.data.test_encoding import make_vae

STUCK = """
import ctypes
from pathlib import Path
from dmp_lightning.training.ctrl_c import listen
from dmp_lightning.files import replacing
listen()
with replacing(Path("result")) as path:
    path.write_text("half")
    print("begun", flush=True)
    while True:
        ctypes.CDLL(None).usleep(60_000_000)
"""
FORKED = """
import os, time
from dmp_lightning.training import ctrl_c
ctrl_c.listen()
if os.fork() == 0:
    time.sleep(600)
print("begun", flush=True)
time.sleep(600)
"""
STEP = """
import ctypes
from dmp_lightning.training import ctrl_c
ctrl_c.listen()
ctrl_c.patient.set()
ctrl_c.finishing.set()
print("begun", flush=True)
while True:
    ctypes.CDLL(None).usleep(60_000_000)
"""
TRAINING = [*SMALL, "backbone.weights=null", "recipe.max_steps=100000", "recipe.validate_every=1000"]
LATER = [pytest.param(number, marks=[] if number < 2 else pytest.mark.slow) for number in range(12)]
DIGITS = ["patch=patch.safetensors", "trainer.accelerator=cpu"]
ENCODING = ["encode", "source=pictures", "vae=vae", "out=store", "batch_size=1", "resolution=64"]
STAGES = [
    ("Sampling", ["evaluate", *DIGITS, "evaluation.samples=5000", "run_dir=evaluated"]),
    ("Encoding", [*ENCODING, "workers=2"]),
    ("Encoding", [*ENCODING, "workers=0"]),
    ("Reference", ["evaluate", *DIGITS, "run_dir=evaluated"]),
    ("trains", ["train", *TRAINING, "logger=csv", "compile=true"]),
    ("trains", ["train", *TRAINING]),
    ("trains", ["train", "-m", *TRAINING, "logger=csv", "seed=1,2"]),
    ("Launching", ["train", "-m", *TRAINING, "logger=csv", "seed=1,2", "launcher=joblib"]),
]


def test_a_long_call_of_a_library_does_not_hold_it_up(tmp_path: Path) -> None:
    process = start(tmp_path, "-c", STUCK)
    wait_for("begun", tmp_path)
    interrupt(process, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_a_process_that_nobody_keeps_a_list_of_ends_with_its_parent(tmp_path: Path) -> None:
    process = start(tmp_path, "-c", FORKED)
    wait_for("begun", tmp_path)
    interrupt(process, tmp_path)


def test_it_comes_in_one_line_before_a_command_listens(tmp_path: Path) -> None:
    (tmp_path / "threading.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")  # the door imports it
    line = [sys.executable, "-m", "dmp_lightning.train"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "Interrupted.\n")


@pytest.mark.parametrize("number", LATER)
def test_a_run_ends_wherever_it_is(number: int, tmp_path: Path) -> None:
    process = start(tmp_path, "-m", "dmp_lightning.train", *TRAINING, "logger=csv")
    time.sleep(random.Random(number).random() * 12)
    interrupt(process, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "line"), STAGES)
def test_each_command_ends_in_each_of_its_stages(stage: str, line: list[str], tmp_path: Path) -> None:
    if "encode" in line[0]:
        make_vae(tmp_path / "vae", 1)
        (tmp_path / "pictures").mkdir()
        for number in range(300):
            Image.new("L", (64, 64), number % 256).save(tmp_path / "pictures" / f"{number}.png")
    if "patch=patch.safetensors" in line:
        patch_of_digits(tmp_path)
    process = start(tmp_path, "-m", f"dmp_lightning.{line[0]}", *line[1:])
    wait_for(stage, tmp_path)
    interrupt(process, tmp_path)


def test_a_step_that_takes_long_is_announced_at_once_and_a_second_ctrl_c_ends_it(tmp_path: Path) -> None:
    process = start(tmp_path, "-c", STEP)
    wait_for("begun", tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    wait_for("Interrupted: finishing the step, then saving. Ctrl-C again ends at once.\n", tmp_path)
    assert process.poll() is None
    interrupt(process, tmp_path)


def start(folder: Path, *line: str) -> subprocess.Popen:
    """A process group of its own, as a terminal makes one for what is typed; its output is in `output`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(folder), "WANDB_MODE": "offline"}
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *line], cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )


def wait_for(text: str, folder: Path) -> None:
    end = time.monotonic() + 120
    while text not in (folder / "output").read_text():
        assert time.monotonic() < end, (folder / "output").read_text()
        time.sleep(0.02)


def alive(group: int) -> list[psutil.Process]:
    """The processes of a group, less those that have ended and that nobody has looked after."""
    found = []
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def interrupt(process: subprocess.Popen, folder: Path) -> str:
    """Ctrl-C: all of the group ends within seconds, says so, and leaves nothing half-written."""
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    assert time.monotonic() - asked < 5
    while (left := alive(process.pid)) and time.monotonic() - asked < 10:
        time.sleep(0.05)
    for each in left:
        each.kill()
    assert not left
    output = (folder / "output").read_text()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert len(re.findall(r"^Interrupted\.", output, re.MULTILINE)) == 1, output
    assert not list(folder.rglob("*.unfinished"))
    return output
