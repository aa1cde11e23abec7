"""The making of the runs of a report: settings that differ, versions, commits, machines and commands."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dmp_lightning.reports.lines import Base, Line, grouped
from dmp_lightning.reports.settings import ABSENT, differing, short
from dmp_lightning.runs.records import Run


@dataclass(frozen=True)
class Making:
    """`settings`: in what the lines on each base differ, keys and values of each. `shared`: what all have in common.

    `versions`, `commits` and `machines` say with how many runs each was met; `commands` are those of all runs, by path.
    """

    settings: list[tuple[Base, list[tuple[Line, list[tuple[str, str]]]]]]
    shared: list[tuple[str, str]]
    versions: list[tuple[str, str]]
    commits: list[tuple[str, int]]
    machines: list[tuple[str, int]]
    commands: list[tuple[str, str]]


def making(lines: Sequence[Line], runs: Sequence[Run]) -> Making:
    """Gather it from the records."""
    keys = differing(line.config for line in lines)
    first = lines[0].config if lines else {}
    records = [run.record for run in runs]
    packages = dict.fromkeys(name for record in records for name in record.versions)
    met = {name: sorted({record.versions.get(name, ABSENT) for record in records}) for name in packages}
    machines = (_machine(record.machine) for record in records)
    return Making(
        [(same[0].base, _settings(same)) for same in grouped(lines, lambda line: line.base.id).values()],
        sorted((key, value) for key, value in first.items() if key not in keys),
        [(name.replace("_", "-") if name != "python" else "Python", ", ".join(met[name])) for name in packages],
        Counter(record.commit for record in records).most_common(),
        Counter(machines).most_common(),
        [(run.where, run.record.command) for run in runs],
    )


def _settings(lines: Sequence[Line]) -> list[tuple[Line, list[tuple[str, str]]]]:
    keys = differing(line.config for line in lines)
    return [(line, [(short(key), line.config[key]) for key in keys if key in line.config]) for line in lines]


def _machine(told: dict[str, Any]) -> str:
    """In words; earlier records do not name the processor and the card."""
    parts = [
        told.get("card"),
        told.get("device"),
        f"{told.get('cpus')} CPUs",
        told.get("processor"),
        told.get("platform"),
    ]
    return ", ".join(part for part in parts if part)
