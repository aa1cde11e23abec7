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
from safetensors.torch import save_file
from tqdm import trange

from tests.configs import SMALL, random_base
from tests.processes import Result, command

STEPS = 12
RUN = "runs/digits/run"
OPTIONS = [
    *SMALL,
    "backbone.weights=base.safetensors",
    f"hydra.run.dir={RUN}",
    "resume=latest",  # where there is nothing to resume, the run begins
    "logger=csv",
    "recipe.ema_decay=0.9",
    "gate.top_k=0.5",
    f"recipe.max_steps={STEPS}",
    "recipe.validate_every=4",
]
OFFLINE = {"WANDB_MODE": "offline"}
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

    @property
    def code(self) -> int:
        """How the process ends: killed, or by itself."""
        return -self.number if self.number == signal.SIGKILL else 128 + self.number

    def arm(self) -> None:
        """Make this process do so."""
        import torch

        from dmp_lightning.diffusion.sampler import Sampler
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


def execute(folder: Path, *options: str, crash: Crash | None = None) -> Result:
    """Begin or resume the run in `folder`, in a process of its own; it has to end as `crash` says, or well."""
    base = folder / "base.safetensors"
    if not base.exists():
        save_file(random_base(), base)
    result = command(folder, [*OPTIONS, *options], OFFLINE, crash and crash.arm)
    expected = 0 if crash is None else crash.code
    assert result.code == expected, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def left_by(folder: Path) -> dict[str, bytes]:
    """What a run leaves that must not depend on its having been stopped: losses, metrics and weights."""
    return left_in(folder / RUN)


def left_in(run: Path) -> dict[str, bytes]:
    """The same, of the run in that folder."""
    left = {"metrics.csv": (run / "metrics.csv").read_bytes()}
    for file in ("patch.safetensors", "patch_raw.safetensors"):
        left |= {f"{file}: {name}": value.tobytes() for name, value in load_file(run / file).items()}
    return left


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
        execute(untouched)
        expected = left_by(untouched)
        for number in trange(times):
            crash, workers = any_crash(chance), chance.choice([0, 2])
            folder = Path(place, str(number))
            folder.mkdir()
            options = [f"data.workers={workers}", f"logger={chance.choice(['csv', 'wandb_csv'])}"]
            execute(folder, *options, crash=crash)
            execute(folder, *options)
            if left_by(folder) == expected:
                same += 1
            else:
                print(f"{crash} with {options}: another result")
    print(f"{same} of {times}")
    return same


if __name__ == "__main__":
    times = int(sys.argv[1])
    sys.exit(soak(times) != times)
