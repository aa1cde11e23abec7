"""Axes: what sweeps turned while all else stayed, as their records say."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from dmp_lightning.reports.lines import Line, grouped
from dmp_lightning.reports.settings import ABSENT, by_value, differing, short


@dataclass(frozen=True)
class Series:
    """Lines that differ in nothing but one axis: `points` are its values, in order, with the line at each."""

    name: str
    points: list[tuple[str, Line]]

    @property
    def base(self) -> str:
        """The base of all its lines, as a sweep calls it, or its name; nothing where the bases differ."""
        bases = {line.axes.get("base", line.base.name) for _, line in self.points}
        return bases.pop() if len(bases) == 1 else ""


@dataclass(frozen=True)
class Axis:
    """One axis and the comparisons along it, all on one measure; of several bases, those on `base`."""

    name: str
    measure: str
    base: str
    series: list[Series]

    @cached_property
    def values(self) -> list[str]:
        """Numbers by size, then texts."""
        return sorted({value for series in self.series for value, _ in series.points}, key=by_value)

    @property
    def settings(self) -> list[str]:
        """The keys of the configs that change along it, its own and those that go with it, but what not all have."""
        along = [[line.config for _, line in series.points] for series in self.series]
        changed = {key for configs in along for key in differing(configs) if all(key in config for config in configs)}
        return sorted(short(key) for key in changed)


def build_axes(lines: Iterable[Line]) -> list[Axis]:
    """Every axis of a sweep along which two lines or more can be compared, for each base."""
    axes = []
    for (measure, _), same in grouped(lines, lambda line: (line.base.measure, line.sweep)).items():
        for name, series in _of_sweep(same):
            compared = [one for one in series if len({value for value, _ in one.points}) > 1]
            on = grouped(compared, lambda one: one.base)
            axes += [Axis(name, measure, base if len(on) > 1 else "", told) for base, told in on.items()]
    return sorted(axes, key=lambda axis: axis.name == "base")  # which comes last: it has all others in one plot


def _of_sweep(lines: list[Line]) -> Iterable[tuple[str, list[Series]]]:
    """The axes that a sweep names; a series shares the base, the other axes, and what none of the axes explains."""
    names = list(dict.fromkeys(name for line in lines for name in line.axes))
    unexplained = {
        key
        for same in grouped(lines, lambda line: (id(line.base), tuple(sorted(line.axes.items())))).values()
        for key in differing(line.config for line in same)
    }
    for name in names:
        others = [other for other in names if other != name]
        yield name, _series([line for line in lines if name in line.axes], name, others, sorted(unexplained))


def _series(lines: list[Line], name: str, others: list[str], keys: list[str]) -> list[Series]:
    base = [] if "base" in (name, *others) else ["base"]  # a sweep over bases says which by itself
    groups = grouped(
        lines,
        lambda line: (
            *[line.base.name for _ in base],
            *[line.axes.get(other, ABSENT) for other in others],
            *[line.config.get(key, ABSENT) for key in keys],
        ),
    )
    told = [*base, *others, *[short(key) for key in keys]]
    differ = [index for index in range(len(told)) if told[index] != "base" and len({of[index] for of in groups}) > 1]
    return [
        Series(
            ", ".join(f"{told[index]} {shared[index]}" for index in differ),
            sorted(((line.axes[name], line) for line in same), key=lambda point: by_value(point[0])),
        )
        for shared, same in groups.items()
    ]
