"""The choice of what is drawn of a large report: its cost stays in proportion to the records, and its page opens."""

from collections.abc import Sequence

from dmp_lightning.reports.lines import Line, grouped

LINES = 12  # whose gains, gates and samples are shown: about a second each
SEEDS = 8  # of a line, drawn thin in its gains
AXES, COSTS = 20, 20  # plots along axes, of each quantity, and of cost
SMALLER = "name a smaller folder for others"


def drawn_lines(lines: Sequence[Line], warnings: list[str]) -> list[Line]:
    """The lines that are shown with all there is of them, base by base; `warnings` say where others are not.

    Of many, each base has those whose distance fell most, as many as there is room for.
    """
    by_base = list(grouped(lines, lambda line: line.base.id).values())
    ordered = [line for same in by_base for line in same]
    if len(lines) <= LINES:
        return ordered
    ranked = [(rank, line.id) for same in by_base for rank, line in enumerate(sorted(same, key=_fall))]
    best = {name for _, name in sorted(ranked, key=lambda place: place[0])[:LINES]}
    warnings.append(
        f"Gains by timestep, gates and samples are shown for {LINES} of {len(lines):,} lines, on each base those whose "
        f"distance fell most: {SMALLER}."
    )
    return [line for line in ordered if line.id in best]


def _fall(line: Line) -> float:
    return line.change.mean if line.change else float("inf")
