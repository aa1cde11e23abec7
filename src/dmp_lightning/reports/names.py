"""The names of measures, bases and lines in a report: as short as they can be told apart."""

from typing import Any

from dmp_lightning.reports.lines import Base, Line, grouped
from dmp_lightning.reports.settings import ABSENT, by_value, differing, short
from dmp_lightning.runs.said import Flat


def conditions(measures: dict[Any, Flat]) -> dict[Any, str]:
    """In what each of these measures differs from the others, to be put behind its name."""
    keys = [key for key in differing(measures.values()) if not key.startswith("features")]  # the metric is named so
    if any(key.startswith("data.train") for key in keys):  # then all other keys of the data follow
        keys = ["data.train", *[key for key in keys if not key.startswith("data")]]
    words = {"data.train": "{}", "evaluation.samples": "{} samples", "evaluation.strata": "{} strata"}
    return {
        measure: "".join(
            f", {words.get(name, name.split('.')[-1] + ' {}').format(said[name])}" for name in keys if name in said
        )
        for measure, said in measures.items()
    }


def name_bases(bases: list[Base]) -> None:
    """Say in what bases of one name and measure differ."""
    for same in grouped(bases, lambda base: (base.measure, base.name)).values():
        said = [base.runs[0].record.base.settings for base in same]
        keys = differing(said)
        for base, settings in zip(same, said, strict=True) if len(same) > 1 else ():
            base.name += ", " + ", ".join(f"{key.split('.')[-1]} {settings.get(key, ABSENT)}" for key in keys)


def name_lines(lines: list[Line]) -> None:
    """Say in what lines of one label on one base differ: on the axes of their sweep, else in their settings."""
    for same in grouped(lines, lambda line: (id(line.base), line.name)).values():
        keys = differing(line.axes for line in same)
        tails = [", ".join(f"{key} {line.axes[key]}" for key in keys if key in line.axes) for line in same]
        if len(set(tails)) < len(same):
            keys = differing(line.config for line in same)
            tails = [", ".join(f"{short(key)} {line.config.get(key, ABSENT)}" for key in keys) for line in same]
        for line, tail in zip(same, tails, strict=True):
            line.name += f" · {tail}" if tail else ""
    lines.sort(key=lambda line: [by_value(line.axes[key]) for key in sorted(line.axes)])
