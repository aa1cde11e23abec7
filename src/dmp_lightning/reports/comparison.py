"""Sorting runs into bases and lines by what their records say: equal measure and base, and equal method."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from dmp_lightning.intervals import spread
from dmp_lightning.reports.lines import STRATA, Base, Line, grouped
from dmp_lightning.reports.names import conditions, name_bases, name_lines
from dmp_lightning.reports.tables import FEW
from dmp_lightning.runs.records import Run
from dmp_lightning.runs.texts import cut


def build_lines(runs: list[Run], warnings: list[str]) -> tuple[list[Base], list[Line]]:
    """The bases of all runs, frozen runs among them, and the lines on these bases.

    Of runs with the same settings and seed the first counts, and `warnings` say so.
    """
    measures = conditions({_as_key(run.record.measure.settings): run.record.measure.settings for run in runs})
    bases: list[Base] = []
    lines: list[Line] = []
    for (measure, *_), group in grouped(runs, _base_key).items():
        base = _base(group, measures[measure])
        bases.append(base)
        trained = [run for run in group if run.record.trained]
        trained_so = grouped(trained, lambda run: _as_key(run.record.method.settings)).values()
        lines += [_line(base, _one_a_seed(_alike(seeds, warnings), warnings)) for seeds in trained_so]
    name_bases(bases)
    name_lines(lines)
    for number, base in enumerate(bases):
        base.id = f"base-{number}"
    for number, line in enumerate(lines):
        line.id = f"line-{number}"
    return bases, lines


def as_axis(value: Any) -> str:
    """A value on an axis as text."""
    return cut("null" if value is None else str(value))


def _as_key(settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(settings.items()))


def _base_key(run: Run) -> tuple[Hashable, ...]:
    record = run.record
    settings = _as_key(record.measure.settings), _as_key(record.base.settings)
    return *settings, record.measure.metric, record.base.parameters


def _base(runs: list[Run], measured_so: str) -> Base:
    record = runs[0].record
    metric, found = record.measure.metric, [run.record.metrics["base"] for run in runs]
    assert metric is not None  # of a training
    name = "FID" if metric == "fid" else f"Fréchet distance ({cut(metric).removeprefix('frechet_').replace('_', ' ')})"
    few = bool(record.measure.too_few)
    distance, loss = (spread([metrics.get(key) for metrics in found]) for key in (metric, "loss"))
    measure = name + FEW * few + measured_so
    return Base(cut(record.base.name), measure, metric, distance, loss, record.base.parameters, runs, few)


def _line(base: Base, seeds: list[Run]) -> Line:
    first = seeds[0].record
    config = first.base.settings | first.measure.settings | first.method.settings
    axes = {cut(name): as_axis(value) for name, value in first.axes.items()}
    return Line(cut(first.method.label), cut(first.method.kind), base, config, seeds, axes, cut(first.sweep or ""))


def _alike(runs: list[Run], warnings: list[str]) -> list[Run]:
    """The runs of a line, without the gains by timestep of those that have measured another number of strata."""
    counts = {id(run): len(strata["mean"]) for run in runs if (strata := run.final.get(STRATA))}
    most = next((value for value, _ in Counter(counts.values()).most_common(1)), 0)
    kept = []
    for run in runs:
        if counts.get(id(run), most) != most:
            warnings.append(f"{run.where}: its strata are left out: there are {counts[id(run)]}, not {most}.")
            metrics = run.record.metrics | {"final": run.final | {STRATA: None}}
            run = replace(run, record=replace(run.record, metrics=metrics))
        kept.append(run)
    return kept


def _one_a_seed(runs: list[Run], warnings: list[str]) -> list[Run]:
    kept: dict[int | None, Run] = {}
    for run in runs:
        first = kept.setdefault(run.seed, run)
        if first is not run:
            warnings.append(f"{run.where} is left out: {first.where} has the same config and seed.")
    return sorted(kept.values(), key=lambda run: (run.seed is None, run.seed))
