"""Records as a run leaves them, made without running: a committed one with other settings, seeds and numbers."""

import copy
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dmp_lightning.tensors import save_tensors

SOURCE = Path(__file__).parents[1] / "gate_type/results/digits/linear-1.json"
BLOCKS, TIMESTEPS, PROMPTS, SAMPLES = 3, 50, 16, (24, 8, 8)
VALUES = 25  # of the first setting; the second makes up the number of lines


class Shape(NamedTuple):
    """How records are shared out: `seeds` of each line and `on_base` lines of each base; None where all are of one."""

    seeds: int | None = 1
    on_base: int | None = None
    evidence: bool = False
    swept: bool = False


SHAPES = {
    "a line a record": Shape(),
    "a sweep of 5 seeds": Shape(seeds=5, swept=True),
    "one line": Shape(seeds=None),
    "4 lines a base": Shape(on_base=4),
    "samples and gates": Shape(evidence=True),
    "one line, samples and gates": Shape(seeds=None, evidence=True),
}


def make(folder: Path, count: int, shape: Shape) -> Path:
    """Write `count` records of that shape below the folder, and return it."""
    chance = random.Random(0)
    source = json.loads(SOURCE.read_text(encoding="utf-8"))
    for number in range(count):
        line, seed = divmod(number, shape.seeds or count)
        run = folder / f"line-{line}" / f"seed-{seed}"
        run.mkdir(parents=True)
        content = record(source, line, seed, shape, chance)
        (run / "results.json").write_text(json.dumps(content), encoding="utf-8")
        if shape.evidence:
            save_tensors(evidence(number), run / "evidence.safetensors")
    return folder


def record(source: dict[str, Any], line: int, seed: int, shape: Shape, chance: random.Random) -> dict[str, Any]:
    """The record of one seed of a line; each line has its place on a grid of two settings."""
    made = copy.deepcopy(source)
    made.pop("checksum", None)  # it is of the source
    final, said = made["metrics"]["final"], made["method"]["settings"]
    base, place = divmod(line, shape.on_base) if shape.on_base else (0, line)
    settings = {"rate": (1 + place // VALUES) / 1000, "top_k": (1 + place % VALUES) / VALUES}
    said |= {"recipe.learning_rates.prompts": str(settings["rate"]), "method.gate.top_k": str(settings["top_k"])}
    made["base"]["name"] = f"base_{base}"
    made["base"]["settings"]["backbone.weights"] = f"weights/base_{base}.safetensors"
    made["sweep"], made["axes"] = ("made", settings) if shape.swept else (None, {})
    made["seeds"]["training"] = seed
    change = chance.gauss(0, 1)
    final["frechet_digits_classifier_change"] = {"mean": change, "low": change - 1, "high": change + 1}
    final["training_seconds"] = chance.uniform(10, 100)
    final["loss_difference"] = _interval(chance.gauss(0, 1e-3))
    strata = [_interval(chance.gauss(0, 1e-3)) for _ in final["loss_difference_by_stratum"]["mean"]]
    final["loss_difference_by_stratum"] = {end: [each[end] for each in strata] for end in ("mean", "low", "high")}
    return made


def evidence(number: int) -> dict[str, torch.Tensor]:
    """Samples and gates of a run, of the sizes that the digits have."""
    chance = torch.Generator().manual_seed(number)
    before, after = (torch.randint(0, 256, SAMPLES, generator=chance, dtype=torch.uint8) for _ in range(2))
    return {
        "samples_before": before,
        "samples_after": after,
        "gate_weights": torch.rand(BLOCKS, TIMESTEPS, PROMPTS, generator=chance),
        "gate_timesteps": torch.linspace(0, 999, TIMESTEPS).long(),
        "gate_blocks": torch.arange(BLOCKS),
        "prompt_norms": torch.rand(BLOCKS, PROMPTS, generator=chance),
    }


def _interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 1e-4, "high": mean + 1e-4}
