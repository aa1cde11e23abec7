"""The table at the end of a sweep: what its jobs measured, as a report of its folder says it, and how they ended."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dmp_lightning.reports.comparison import build_lines
from dmp_lightning.reports.formatting import alone_text, interval_text, spread_text
from dmp_lightning.reports.lines import Line
from dmp_lightning.runs.record import read_results
from dmp_lightning.runs.records import RESULTS, Run
from dmp_lightning.runs.texts import visible

WIDTH = 160  # characters of a table that goes into a file or a pipe
MEASURED = ("done", "skipped")  # jobs that have a record
NOTE = (
    "Changes from the base, lower is better, with 95% intervals: over seeds and samples; * over the samples of one run."
)


def print_jobs(jobs: Sequence[tuple[str, Path]], console: Console | None = None) -> None:
    """Print the bases, a row for each line of runs that differ in the seed alone, and one for each job without record.

    Args:
        jobs: how each ended, and its folder.
    """
    console = console or Console(width=None if sys.stdout.isatty() else WIDTH)
    found = {folder: run for state, folder in jobs if state in MEASURED and (run := _run(folder)) is not None}
    states = {found[folder].path: state for state, folder in jobs if folder in found}
    told: list[str] = []
    bases, lines = build_lines(list(found.values()), told)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("run", overflow="fold")
    table.add_column("ended")
    for name in ("distance", "change [95%]", "loss − base [95%]", "training seconds"):
        table.add_column(name, justify="right")
    for base in bases:
        frozen = Counter(states[run.path] for run in base.runs if not run.record.trained)
        table.add_row(Text(visible(f"{base.name} (base): {base.measure}")), _counted(frozen), alone_text(base.distance))
        for line in (line for line in lines if line.base is base):
            table.add_row(
                Text(visible(f"+ {line.name}")), _counted(Counter(states[run.path] for run in line.runs)), *_cells(line)
            )
    for state, folder in jobs:
        if folder not in found:
            table.add_row(Text(visible(unquote(folder.name))), state, *["–"] * 4)
    console.print(table)
    for sentence in [NOTE] * bool(lines) + told:
        console.print(Text(visible(sentence)))


def _run(folder: Path) -> Run | None:
    """The record of a job; None where it is gone or damaged since."""
    try:
        return Run(folder / RESULTS, read_results(folder / RESULTS), None)
    except (OSError, ValueError):
        return None


def _cells(line: Line) -> Iterator[str]:
    yield spread_text(line.distance)
    for found in (line.change, line.loss):
        yield interval_text(found) + ("*" if found and len(line.runs) == 1 else "")
    yield spread_text(line.seconds, ",.0f")


def _counted(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in states.items())
