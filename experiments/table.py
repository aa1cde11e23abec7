"""Print the lines of a folder of results as a Markdown table, one below each base.

python experiments/table.py RESULTS [--against VALUE ...]
python experiments/table.py RESULTS --across AXIS ... [--show distance]

Each line has its Fréchet distance, mean ± standard deviation over seeds, its loss minus the base's with the 95%
interval over seeds and images, and its cost. ≈ marks a distance whose change from the base has an interval over seeds
and samples that holds zero. With `--against`, also how far both lie from those of the line of these values, seed by
seed, with the 95% interval over seeds and samples. Older records do not hold what the samples' noise needs: then it is
Student's over the seeds alone, and the column says so. With axes `--across`, their values are columns, and cells hold
what `--show` says.
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

from dmp_lightning.intervals import Interval, combined, direction, jackknife
from dmp_lightning.reports.comparison import build_lines
from dmp_lightning.reports.formatting import alone_text, interval_text, spread_text
from dmp_lightning.reports.lines import LOSS, Base, Line, grouped, groups_of
from dmp_lightning.reports.markdown import parameters_text
from dmp_lightning.reports.settings import by_value
from dmp_lightning.runs.records import Run, read_folder

Show = Callable[[Line], str]


def loss(line: Line) -> str:
    return interval_text(line.loss)


def seconds(line: Line) -> str:
    return spread_text(line.seconds, ",.0f")


def distance(line: Line) -> str:
    unknown = line.change is not None and direction(line.change) == 0
    return spread_text(line.distance, ".2f") + (" ≈" if unknown else "")


def seeds(line: Line) -> str:
    return str(len(line.runs))


COLUMNS: dict[str, Show] = {
    "distance": distance,
    "loss − base": loss,
    "trained parameters": parameters_text,
    "seconds": seconds,
    "seeds": seeds,
}


class Found(NamedTuple):
    """A number of a run. `groups`: its change from the base without each group of samples; older runs have none."""

    value: float | None
    groups: list[float]


def against(values: list[str], lines: list[Line]) -> dict[str, Show]:
    """Columns that compare a line with the first that has all `values`, over the seeds that both have.

    Raises:
        ValueError: no line has them.
    """
    value = ", ".join(values)
    other = next((line for line in lines if set(values) <= set(line.axes.values())), None)
    if other is None:
        raise ValueError(f"No line has the value {value}: {', '.join(line.name for line in lines)}")

    def column(measure: str, found: Callable[[Run], Found]) -> tuple[str, Show]:
        theirs = {run.seed: found(run) for run in other.runs}
        sizes = {len(found(run).groups) for line in lines for run in line.runs}
        alone = len(sizes) > 1 or min(sizes) < 2

        def show(line: Line) -> str:
            pairs = [(found(run), theirs[run.seed]) for run in line.runs if run.seed in theirs]
            differences = [known for pair in pairs if (known := difference(*pair, alone=alone))]
            if line is other or len(differences) < 2:
                return ""
            return interval_text(combined(differences))

        return f"{measure} − that of {value} [95%{', seeds alone' if alone else ''}]", show

    def distance_of(run: Run) -> Found:
        metric = other.base.metric
        return Found(run.final.get(metric), groups_of(run.final.get(f"{metric}_change")))

    def loss_of(run: Run) -> Found:
        return Found(run.final.get("loss"), groups_of(run.final.get(LOSS)))

    return dict([column("distance", distance_of), column("loss", loss_of)])


def difference(mine: Found, theirs: Found, *, alone: bool) -> Interval | None:
    """Of one seed, with its interval over samples, which is empty for the seeds `alone`; None without the numbers."""
    if mine.value is None or theirs.value is None:
        return None
    value = mine.value - theirs.value
    if alone:
        return Interval(value, value, value)
    # All runs are measured on the same noise and images, and have one base, which cancels.
    return jackknife(value, [own - other for own, other in zip(mine.groups, theirs.groups, strict=True)])


def plain(base: Base, lines: list[Line], values: list[str]) -> list[list[str]]:
    """A row for each line, with all that is shown of it."""
    columns = COLUMNS | (against(values, lines) if values else {})
    axes = list(dict.fromkeys(axis for line in lines for axis in line.axes if axis != "base"))
    frozen = [f"**{base.name}**", *[""] * (len(axes) - 1), alone_text(base.distance, ".2f"), "–", "0", "0"]
    rows = [[*[line.axes.get(axis, "") for axis in axes], *[show(line) for show in columns.values()]] for line in lines]
    return [[*axes, *columns], [*frozen, *[""] * (len(axes) + len(columns) - len(frozen))], *rows]


def across(base: Base, lines: list[Line], turned: list[str], shown: str) -> list[list[str]]:
    """A row for each value of the other axes, a column for each value of those `turned`."""
    axes = [axis for axis in lines[0].axes if axis not in ("base", *turned)]
    columns = sorted(
        {tuple(line.axes[axis] for axis in turned) for line in lines}, key=lambda column: [*map(by_value, column)]
    )
    most = max(len(line.runs) for line in lines)
    rows = [[*axes, *[", ".join(column) for column in columns]]]
    alone = alone_text(base.distance, ".2f") if shown == "distance" else alone_text(base.loss, ".5f")
    rows.append([f"**{base.name}**", *[""] * (len(axes) - 1), alone, *[""] * (len(columns) - 1)])
    for key, same in grouped(lines, lambda line: tuple(line.axes[axis] for axis in axes)).items():
        found = {
            tuple(line.axes[axis] for axis in turned): COLUMNS[shown](line)
            + ("" if len(line.runs) == most else f" ({len(line.runs)} of {most} seeds)")
            for line in same
        }
        rows.append([*key, *[found.get(column, "–") for column in columns]])
    return rows


def markdown(rows: list[list[str]], texts: int) -> str:
    rule = ["---"] * texts + ["---:"] * (len(rows[0]) - texts)
    return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], rule, *rows[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results")
    parser.add_argument("--against", nargs="*", default=[], help="values on axes, to compare others with their line")
    parser.add_argument("--across", nargs="*", default=[], help="axes whose values are columns")
    parser.add_argument("--show", default="distance", choices=COLUMNS)
    given = parser.parse_args()
    bases, lines = build_lines(read_folder(given.results).runs, [])
    for base in bases:
        mine = [line for line in lines if line.base is base]
        if not mine:
            continue
        try:
            rows = across(base, mine, given.across, given.show) if given.across else plain(base, mine, given.against)
        except ValueError as error:
            parser.error(str(error))
        print(markdown(rows, 1 if given.across else rows[0].index("distance")))


if __name__ == "__main__":
    main()
