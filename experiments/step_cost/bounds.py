"""Times that the project keeps below a bound."""

import subprocess
import sys

import torch
from steps import Case, Step
from timing import in_turn, ratios, row, seconds

from dmp_lightning.metrics.moments import Reference, moments

UNIT = Case("full_finetune")
STEPS = {
    UNIT: None,
    Case("dmp"): 0.72,
    Case("dmp", compiled=True): 0.66,
    Case("dmp", autocast=True): 0.50,
    Case("dmp", autocast=True, compiled=True): 0.45,
    Case("dmp", dtype="bfloat16"): None,
    Case("dmp", dtype="bfloat16", compiled=True): None,
    Case("dmp", checkpointing=True): None,
}
FEATURES = 2048


def measure(rounds: int) -> list[dict]:
    """All rows, the steps in units of one full fine-tuning step of DiT-S/2, batch 8, float32, eager."""
    return [*training_steps(rounds), forward(3 * rounds), frechet(min(rounds, 5)), help_page(min(rounds, 5))]


def training_steps(rounds: int) -> list[dict]:
    """Steps of DMP in units of one of full fine-tuning, and that one in seconds."""
    times = in_turn({str(case): Step(case) for case in STEPS}, rounds, what="Steps")
    unit = row(f"{UNIT} [s]", times[str(UNIT)])
    return [unit, *[row(str(case), ratios(times, str(case), str(UNIT)), STEPS[case]) for case in list(STEPS)[1:]]]


def forward(rounds: int) -> dict:
    """The patched model in units of its base."""
    times = in_turn({name: Step(Case(name)).forward for name in ("frozen", "dmp")}, rounds, what="Forward passes")
    return row("patched forward / base forward", ratios(times, "dmp", "frozen"), 1.02)


def frechet(rounds: int) -> dict:
    """Seconds of a Fréchet distance between two sets of features, the reference's root included."""
    generator = torch.Generator().manual_seed(0)
    one, other = (moments(torch.randn(2 * FEATURES, FEATURES, generator=generator)) for _ in range(2))
    times = in_turn({"distance": lambda: Reference(one).distance(other)}, rounds, what="Fréchet distances", warm_up=0)
    return row("Fréchet distance, 2,048 features [s]", times["distance"], 4)


def help_page(rounds: int) -> dict:
    """Seconds until `--help` is there; the first time it may be read from disk, which does not count."""
    line = [sys.executable, "-m", "dmp_lightning.train", "--help"]

    def show() -> None:
        subprocess.run(line, check=True, capture_output=True)

    seconds(show)
    return row("train --help [s]", [seconds(show) for _ in range(rounds)], 3)
