"""The content of a report on a set of runs, before it becomes a page, Markdown, CSV and PNG files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from altair.utils.schemapi import debug_mode

from dmp_lightning.reports.axes import Axis, build_axes
from dmp_lightning.reports.axis_chart import axis_chart
from dmp_lightning.reports.chart_look import Chart
from dmp_lightning.reports.chart_rows import DISTANCE, LOSS
from dmp_lightning.reports.comparison import build_lines
from dmp_lightning.reports.cost_chart import cost_chart
from dmp_lightning.reports.drawn import AXES, COSTS, SEEDS, SMALLER, drawn_lines
from dmp_lightning.reports.formatting import count
from dmp_lightning.reports.gains_chart import gains_chart
from dmp_lightning.reports.gallery import Gallery, build_gallery
from dmp_lightning.reports.headline import headline
from dmp_lightning.reports.lines import Base, Line, grouped
from dmp_lightning.reports.provenance import Making, making
from dmp_lightning.runs.records import Failure, Records, Run
from dmp_lightning.runs.texts import slug, visible


@dataclass(frozen=True)
class Report:
    """The table's `bases` and `lines`, plots, pictures, failures, and how the runs were made."""

    title: str
    bases: list[Base]
    lines: list[Line]
    axes: list[Axis]
    axis_charts: list[Chart]
    cost_charts: list[Chart]
    gains_charts: list[tuple[Line, Chart]]
    gallery: Gallery
    evaluations: list[Run]
    failures: list[Failure]
    making: Making
    warnings: list[str]

    @property
    def headline(self) -> list[str]:
        """Sentences that sum it up."""
        return headline(self.bases, self.lines)

    @property
    def summary(self) -> str:
        """How much was read, in a few words."""
        runs = sum(len(line.runs) for line in self.lines)
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"{count(runs, 'run')} in {count(len(self.lines), 'line')} on {count(len(self.bases), 'base')}{failed}"

    @property
    def charts(self) -> list[Chart]:
        """All plots, in the order of the page."""
        return [*self.axis_charts, *self.cost_charts, *[chart for _, chart in self.gains_charts]]


def build_report(records: Records, title: str) -> Report:
    """Compare what can be compared among `records`."""
    warnings = list(records.warnings)
    bases, lines = build_lines(records.runs, warnings)
    axes = build_axes(lines)
    if len(axes) > AXES:
        warnings.append(f"Plots are drawn along the first {AXES} of {len(axes):,} axes: {SMALLER}.")
    shown = drawn_lines(lines, warnings)
    if any(len(line.runs) > SEEDS for line in shown):
        warnings.append(f"Gains by timestep are drawn thin for the first {SEEDS} seeds of a line; means are over all.")
    with debug_mode(False):  # Altair would hold each part against its schema, ten times as long as it takes to make it
        axis_charts, cost_charts = list(_axis_charts(axes[:AXES])), list(islice(_cost_charts(bases, lines), COSTS + 1))
        gains_charts = [(line, gains_chart(line)) for line in shown]
    if len(cost_charts) > COSTS:
        warnings.append(f"{COSTS} plots of quality against cost are drawn, those of the first bases: {SMALLER}.")
    return Report(
        visible(title),
        bases,
        lines,
        axes,
        axis_charts,
        cost_charts[:COSTS],
        [(line, chart) for line, chart in gains_charts if chart is not None],
        build_gallery(shown, warnings),
        records.evaluations,
        records.failures,
        making(lines, [*records.runs, *records.evaluations]),
        warnings,
    )


def _axis_charts(axes: Sequence[Axis]) -> Iterator[Chart]:
    for number, axis in enumerate(axes, start=1):
        for quantity in (DISTANCE, LOSS):
            chart = axis_chart(axis, quantity, f"axis-{number}-{slug(f'{axis.name} {axis.base}'.strip())}-{quantity}")
            if chart is not None:
                yield chart


def _cost_charts(bases: Sequence[Base], lines: Sequence[Line]) -> Iterator[Chart]:
    """For each base its lines against their parameters, and those of one kind of machine against their seconds."""
    on = grouped(lines, lambda line: line.base.id)
    used = [(base, on[base.id]) for base in bases if base.id in on]
    for number, (base, same) in enumerate(used, start=1):
        among = f", from {base.name}" if len(used) > 1 else ""
        machines = grouped((line for line in same if line.machine), lambda line: line.machine)
        parts = [("parameters", same, among)]
        parts += [("seconds", of, f"{among}, {kind}" if len(machines) > 1 else among) for kind, of in machines.items()]
        for cost, told, where in parts:
            chart = cost_chart(base, told, cost, f"cost-{number}-{slug(f'{cost}{where}')}", where)
            if chart is not None:
                yield chart
