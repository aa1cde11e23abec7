"""Measure what a step costs, in turn in one process: `python experiments/step_cost/bench.py` (`make bench`).

Writes `results/DEVICE.json` and prints the table with the bounds that the project keeps.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import torch
from rich.console import Console
from rich.table import Table
from steps import Case, Step
from tqdm import tqdm

from dmp_lightning.evaluation.moments import Reference, moments
from dmp_lightning.reporting.results import provenance

HERE = Path(__file__).parent
UNIT = Case("full_finetune")
STEPS = {
    UNIT: None,
    Case("dmp"): 0.72,
    Case("dmp", compiled=True): 0.66,
    Case("dmp", bf16=True): 0.50,
    Case("dmp", bf16=True, compiled=True): 0.45,
}


def seconds(function: Callable[[], object], device: str) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turn(functions: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, list[float]]:
    """Times of all functions, one call each a round, so that a busy machine slows all alike; two rounds to warm up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in tqdm(range(rounds + 2), desc=", ".join(functions)[:60], leave=False):
        for name, function in functions.items():
            taken = seconds(function, device)
            if number >= 2:
                times[name].append(taken)
    return times


def ratio(times: dict[str, list[float]], name: str, unit: str) -> dict[str, float]:
    """Median and quartiles over the rounds of one time over the other."""
    ratios = [mine / base for mine, base in zip(times[name], times[unit], strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return {"value": median(ratios), "low": low, "high": high, "seconds": median(times[name])}


def training_steps(rounds: int, device: str) -> dict[str, dict]:
    """Steps of DMP in units of one of full fine-tuning."""
    times = in_turn({str(case): Step(case, device) for case in STEPS}, rounds, device)
    return {str(case): ratio(times, str(case), str(UNIT)) | {"bound": bound} for case, bound in STEPS.items()}


def forward(rounds: int, device: str) -> dict[str, dict]:
    """The patched model in units of its base."""
    times = in_turn({name: Step(Case(name), device).forward for name in ("full_finetune", "dmp")}, rounds, device)
    return {"patched forward / base forward": ratio(times, "dmp", "full_finetune") | {"bound": 1.02}}


def frechet(rounds: int) -> dict[str, dict]:
    """Seconds of a Fréchet distance between two sets of 2,048 features, the reference's root included."""
    generator = torch.Generator().manual_seed(0)
    one, other = (moments(torch.randn(4096, 2048, generator=generator)) for _ in range(2))
    times = sorted(seconds(lambda: Reference(one).distance(other), "cpu") for _ in range(rounds))
    return {
        "Fréchet distance, 2,048 features [s]": {"value": median(times), "low": times[0], "high": times[-1], "bound": 4}
    }


def help_page(rounds: int) -> dict[str, dict]:
    """Seconds until `--help` is there."""
    line = [sys.executable, "-m", "dmp_lightning.train", "--help"]
    times = sorted(seconds(lambda: subprocess.run(line, check=True, capture_output=True), "cpu") for _ in range(rounds))
    return {"train --help [s]": {"value": median(times), "low": times[0], "high": times[-1], "bound": 3}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=11)
    arguments = parser.parse_args()
    measured = training_steps(arguments.rounds, arguments.device) | forward(4 * arguments.rounds, arguments.device)
    measured |= frechet(5) | help_page(5)
    record = {"measured": measured, "threads": torch.get_num_threads(), **provenance(arguments.device)}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{arguments.device}.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    table = Table("what", "median", "quartiles", "at most")
    for name, found in measured.items():
        bound = "" if found["bound"] is None else f"{found['bound']:g}"
        table.add_row(name, f"{found['value']:.3f}", f"{found['low']:.3f} to {found['high']:.3f}", bound)
    Console().print(table)


if __name__ == "__main__":
    main()
