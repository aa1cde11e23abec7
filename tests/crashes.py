"""Runs that are killed on the way and resumed, and what they leave beside one that was left alone.

`python -m tests.crashes 20` kills twenty runs at points of chance (`make soak`).
"""

import io
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file
from tqdm import trange

from tests.processes import as_started_by_a_person, forkserver

STEPS = 12
OPTIONS = ["recipe.ema_decay=0.9", "gate.top_k=0.5", f"recipe.max_steps={STEPS}", "recipe.validate_every=4"]
POINTS = {  # how often each is passed in a run
    "training step": STEPS,
    "validation step": 36,
    "generating": 6,
    "saving": 5,
}


@dataclass(frozen=True)
class Crash:
    """Kill the process, with `number` as a signal, when it passes `point` for the `time`th time."""

    point: str
    time: int
    number: int = signal.SIGKILL

    def arm(self) -> None:
        """Make this process do so."""
        import torch

        from dmp_lightning.diffusion.sampling import Sampler
        from dmp_lightning.training.module import DiffusionModule

        places: dict[str, tuple[Any, str]] = {
            "training step": (DiffusionModule, "training_step"),
            "validation step": (DiffusionModule, "validation_step"),
            "generating": (Sampler, "sample"),
            "saving": (torch, "save"),
        }
        owner, name = places[self.point]
        setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, original: Callable) -> Callable:
        passed = 0

        @wraps(original)
        def function(*arguments: Any, **keywords: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed == self.time:
                if self.point == "saving":  # half of the file
                    whole = io.BytesIO()
                    original(arguments[0], whole)
                    arguments[1].write(whole.getvalue()[: whole.tell() // 2])
                    arguments[1].flush()
                os.kill(os.getpid(), self.number)
            return original(*arguments, **keywords)

        return function


def execute(folder: Path, options: list[str], crash: Crash | None = None) -> int:
    """Run the main job in `folder`, in a process of its own; returns its exit code, negative for a signal."""
    process = forkserver.Process(target=_child, args=(folder, options, crash))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _child(folder: Path, options: list[str], crash: Crash | None) -> None:
    import torch

    from dmp_lightning.job import train
    from tests.configs import small

    as_started_by_a_person()
    torch.set_num_threads(1)
    os.chdir(folder)
    with Path("log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        if crash is not None:
            crash.arm()
        train(small(Path("runs/digits/run"), *options))


def left_by(folder: Path) -> dict[str, bytes]:
    """What a run leaves that must not depend on its having been stopped: losses, metrics and weights."""
    run = folder / "runs" / "digits" / "run"
    left = {"metrics.csv": (run / "metrics.csv").read_bytes()}
    for file in ("patch.safetensors", "patch_raw.safetensors"):
        left |= {f"{file}: {name}": value.tobytes() for name, value in load_file(run / file).items()}
    return left


def crash_and_resume(folder: Path, options: list[str], crash: Crash) -> None:
    """Run, crash, and resume until the end."""
    assert execute(folder, options, crash) == -crash.number, (folder / "log.txt").read_text()[-3000:]
    begun = any(folder.glob("runs/digits/run/checkpoints/*.ckpt"))
    again = [*options, "resume=latest"] if begun else options
    assert execute(folder, again) == 0, (folder / "log.txt").read_text()[-3000:]


def any_crash(chance: random.Random) -> Crash:
    """A crash anywhere."""
    point = chance.choice(sorted(POINTS))
    return Crash(point, chance.randint(1, POINTS[point]))


def soak(times: int) -> int:
    """Crash and resume so many runs; prints each that differs, and returns how many did not."""
    chance, same = random.Random(), 0
    with tempfile.TemporaryDirectory() as place:
        untouched = Path(place, "untouched")
        untouched.mkdir()
        assert execute(untouched, OPTIONS) == 0, (untouched / "log.txt").read_text()[-3000:]
        expected = left_by(untouched)
        for number in trange(times):
            crash, workers = any_crash(chance), chance.choice([0, 2])
            folder = Path(place, str(number))
            folder.mkdir()
            crash_and_resume(folder, [*OPTIONS, f"data.workers={workers}"], crash)
            if left_by(folder) == expected:
                same += 1
            else:
                print(f"{crash} with {workers} workers: another result")
    print(f"{same} of {times}")
    return same


if __name__ == "__main__":
    times = int(sys.argv[1])
    sys.exit(soak(times) != times)
