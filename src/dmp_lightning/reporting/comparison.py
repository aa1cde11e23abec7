"""Sorting runs into bases and lines: what was measured alike, on which base, and which runs are seeds of one config."""

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from dmp_lightning.reporting.configs import Flat, flatten, part, without
from dmp_lightning.reporting.lines import Base, Line, grouped
from dmp_lightning.reporting.names import name_bases, name_lines, name_methods, named
from dmp_lightning.reporting.records import Run
from dmp_lightning.reporting.statistics import spread
from dmp_lightning.reporting.tables import FEW

MEASURE = ("features", "evaluation", "sampler", "data", "diffusion.betas")
"""Parts of a config without which quality cannot be compared."""
INCEPTION = 2048  # features of an FID


def build_lines(runs: list[Run], warnings: list[str]) -> tuple[list[Base], list[Line]]:
    """The bases of all runs, frozen runs among them, and the lines on these bases.

    Of runs with the same config and seed the first counts, and `warnings` say so.
    """
    runs = [run for run in runs if run.record.rows]
    flat = {id(run): flatten(run.record.config) for run in runs}
    measures = named({part(config, MEASURE): config for config in flat.values()}, MEASURE)
    bases: list[Base] = []
    lines: list[Line] = []
    for (measure, _), group in grouped(runs, lambda run: _base_key(flat[id(run)])).items():
        config = flat[id(group[0])]
        base = _base(group, config, measures[measure])
        bases.append(base)
        patched = [run for run in group if len(run.record.rows) > 1]
        for seeds in grouped(patched, lambda run: without(flat[id(run)], ())).values():
            seeds = _one_a_seed(seeds, warnings)
            sweep = seeds[0].record.config.get("sweep") or {}
            axes = {name: as_axis(value) for name, value in (sweep.get("axes") or {}).items()}
            config = flat[id(seeds[0])]
            lines.append(Line(seeds[0].record.method, "", base, config, seeds, axes, sweep.get("name") or ""))
    name_bases(bases, flat)
    name_methods(lines)
    name_lines(lines)
    for number, base in enumerate(bases):
        base.id = f"base-{number}"
    for number, line in enumerate(lines):
        line.id = f"line-{number}"
    return bases, lines


def as_axis(value: Any) -> str:
    """A value on an axis as text."""
    return value if isinstance(value, str) else str(value).lower() if value is None else str(value)


def metric_of(run: Run) -> str:
    """The key of the Fréchet distance among the metrics of a run."""
    names = [name for name in run.record.metrics["final"] if name == "fid" or name.startswith("frechet_")]
    return next(name for name in names if not name.endswith("_change"))


def too_few(run: Run) -> bool:
    """Whether its distance is of no more images than features; a record of before this was counted tells it of FID."""
    counts = run.record.metrics.get("counts")
    if counts:
        return counts["too_few"]
    samples = run.record.config.get("evaluation", {}).get("samples", math.inf)
    return metric_of(run) == "fid" and samples <= INCEPTION


def _features(run: Run) -> str:
    metric = metric_of(run)
    name = "FID" if metric == "fid" else f"Fréchet distance ({metric.removeprefix('frechet_').replace('_', ' ')})"
    return name + FEW if too_few(run) else name


def _base_key(config: Flat) -> tuple[Hashable, Hashable]:
    return part(config, MEASURE), part(config, ("backbone", "diffusion"))


def _base(runs: list[Run], config: Flat, conditions: str) -> Base:
    measure = _features(runs[0]) + conditions
    metric, found = metric_of(runs[0]), [run.record.metrics["base"] for run in runs]
    distance, loss = (spread([metrics.get(name) for metrics in found]) for name in (metric, "loss"))
    weights = config.get("backbone.weights", "null")
    name = "random weights" if weights == "null" else Path(weights).stem
    return Base(name, measure, metric, distance, loss, runs[0].record.rows[0]["base"], runs, too_few(runs[0]))


def _one_a_seed(runs: list[Run], warnings: list[str]) -> list[Run]:
    kept: dict[int | None, Run] = {}
    for run in runs:
        first = kept.setdefault(run.seed, run)
        if first is not run:
            warnings.append(f"{run.path} is left out: {first.path} has the same config and seed.")
    return sorted(kept.values(), key=lambda run: (run.seed is None, run.seed))
