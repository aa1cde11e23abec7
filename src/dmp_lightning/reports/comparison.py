"""Sorting runs into bases and lines: what was measured alike, on which base, and which runs are seeds of one config."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dmp_lightning.intervals import spread
from dmp_lightning.reports.configs import Flat, flatten, part, value_at, without
from dmp_lightning.reports.lines import Base, Line, grouped
from dmp_lightning.reports.names import name_bases, name_lines, name_methods, named
from dmp_lightning.reports.tables import FEW
from dmp_lightning.runs.record_shape import is_distance
from dmp_lightning.runs.records import Run
from dmp_lightning.runs.texts import cut

MEASURE = ("features", "evaluation", "sampler", "data", "diffusion.betas")
"""Parts of a config without which quality cannot be compared."""
INCEPTION = 2048  # features of an FID


def build_lines(runs: list[Run], warnings: list[str]) -> tuple[list[Base], list[Line]]:
    """The bases of all runs, frozen runs among them, and the lines on these bases.

    Of runs with the same config and seed the first counts, and `warnings` say so.
    """
    flat = {id(run): flatten(run.record.config) for run in runs}
    measures = named({part(config, MEASURE): config for config in flat.values()}, MEASURE)
    bases: list[Base] = []
    lines: list[Line] = []
    for (measure, *_), group in grouped(runs, lambda run: _base_key(run, flat[id(run)])).items():
        config = flat[id(group[0])]
        base = _base(group, config, measures[measure])
        bases.append(base)
        patched = [run for run in group if len(run.record.rows) > 1]
        for seeds in grouped(patched, lambda run: without(flat[id(run)], ())).values():
            seeds = _one_a_seed(_alike(seeds, warnings), warnings)
            first = seeds[0].record
            axes, sweep = axes_of(first.config), as_axis(value_at(first.config, "sweep.name") or "")
            lines.append(Line(cut(first.method), "", base, flat[id(seeds[0])], seeds, axes, sweep))
    name_bases(bases, flat)
    name_methods(lines)
    name_lines(lines)
    for number, base in enumerate(bases):
        base.id = f"base-{number}"
    for number, line in enumerate(lines):
        line.id = f"line-{number}"
    return bases, lines


def axes_of(config: dict[str, Any]) -> dict[str, str]:
    """The values of a run on the axes of its sweep."""
    axes = value_at(config, "sweep.axes")
    return {cut(name): as_axis(value) for name, value in axes.items()} if isinstance(axes, dict) else {}


def as_axis(value: Any) -> str:
    """A value on an axis as text."""
    return cut(str(value).lower() if value is None else str(value))


def metric_of(run: Run) -> str:
    """The key of the Fréchet distance among the metrics of a run."""
    return next(filter(is_distance, run.record.metrics["final"]))


def too_few(run: Run) -> bool:
    """Whether its distance is of no more images than features; a record of before this was counted tells it of FID."""
    counts = run.record.metrics.get("counts")
    if counts:
        return counts["too_few"]
    samples = value_at(run.record.config, "evaluation.samples")
    return metric_of(run) == "fid" and type(samples) is int and samples <= INCEPTION


def _features(run: Run) -> str:
    metric = cut(metric_of(run))
    name = "FID" if metric == "fid" else f"Fréchet distance ({metric.removeprefix('frechet_').replace('_', ' ')})"
    return name + FEW if too_few(run) else name


def _base_key(run: Run, config: Flat) -> tuple[Hashable, ...]:
    size = run.record.rows[0]["base"]  # parameters: of one config all runs have as many
    return part(config, MEASURE), part(config, ("backbone", "diffusion")), metric_of(run), size


def _base(runs: list[Run], config: Flat, conditions: str) -> Base:
    measure = _features(runs[0]) + conditions
    metric, found = metric_of(runs[0]), [run.record.metrics["base"] for run in runs]
    distance, loss = (spread([metrics.get(name) for metrics in found]) for name in (metric, "loss"))
    weights = config.get("backbone.weights", "null")
    name = "random weights" if weights == "null" else Path(weights).stem
    return Base(name, measure, metric, distance, loss, runs[0].record.rows[0]["base"], runs, too_few(runs[0]))


def _alike(runs: list[Run], warnings: list[str]) -> list[Run]:
    """The runs of a line, without the gains by timestep of those that have measured another number of strata."""
    counts = {id(run): len(strata["mean"]) for run in runs if (strata := run.record.paired.get("by_stratum"))}
    most = next((value for value, _ in Counter(counts.values()).most_common(1)), 0)
    kept = []
    for run in runs:
        if counts.get(id(run), most) != most:
            warnings.append(f"{run.where}: its strata are left out, they are {counts[id(run)]}, not {most}.")
            run = replace(run, record=replace(run.record, paired={"overall": run.record.paired.get("overall")}))
        kept.append(run)
    return kept


def _one_a_seed(runs: list[Run], warnings: list[str]) -> list[Run]:
    kept: dict[int | None, Run] = {}
    for run in runs:
        first = kept.setdefault(run.seed, run)
        if first is not run:
            warnings.append(f"{run.where} is left out: {first.where} has the same config and seed.")
    return sorted(kept.values(), key=lambda run: (run.seed is None, run.seed))
