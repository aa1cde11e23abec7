"""The ablation table: a line for each config with all that was measured of it, as cells, Markdown and CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dmp_lightning.intervals import direction
from dmp_lightning.reports.configs import ABSENT, value_at
from dmp_lightning.reports.formatting import alone_text, count, interval_text, number, spread_text
from dmp_lightning.reports.lines import Base, Line, grouped
from dmp_lightning.reports.tables import FEW, FEW_NOTE
from dmp_lightning.runs.records import Run
from dmp_lightning.runs.texts import as_code, cut, in_csv, in_markdown

WORDS = {-1: "better", 0: "open", 1: "worse"}
TOO_FEW = "too few images"


def headline(bases: Sequence[Base], lines: Sequence[Line]) -> list[str]:
    """What can be said of all lines together, each sentence with its numbers."""
    few = [line for line in lines if line.base.too_few]
    known = [line for line in lines if line.change is not None and not line.base.too_few]
    marked = (
        f"† {count(len(few), 'line')} with no more samples or reference images than features: nothing is concluded."
    )
    if not known and few:
        return [marked]
    if not known:
        return [f"{count(len(bases), 'base')} measured, and nothing patched that could be compared with them."]
    found = [direction(line.change) for line in known if line.change]
    better, worse, open_ = (found.count(value) for value in (-1, 1, 0))
    told = f"{count(len(known), 'trained line')} on {count(len({line.base.id for line in known}), 'base')}"
    sentences = [
        f"Of {told}, the change of the Fréchet distance from the frozen control lies below zero with its whole 95% "
        f"interval over seeds and samples for {better} (better), above for {worse} (worse), and for {open_} the "
        "interval holds zero."
    ]
    losses = [direction(line.loss) for line in known if line.loss]
    both = [line for line in known if _directions(line) == (-1, -1)]
    against = [line for line in known if _directions(line) in ((-1, 1), (1, -1))]
    if losses:
        contradict = f", and for {len(against)} the two measures contradict each other" if against else ""
        sentences.append(
            f"The paired validation loss lies below the control's in the same way for {losses.count(-1)}, above it for "
            f"{losses.count(1)}; both measures are better for {len(both)}{contradict}."
        )
    alone = sum(len(line.runs) == 1 for line in known)
    if few:
        sentences.append(marked)
    if alone:
        sentences.append(
            f"{count(alone, 'line')} {'has' if alone == 1 else 'have'} one seed only: the interval there speaks of the "
            "samples and images of that run alone, not of another training."
        )
    if len(known) > 1:
        sentences.append(
            f"Nothing is corrected for {len(known)} comparisons: of as many lines without any effect, "
            f"{len(known) / 20:.1f} would be expected to have an interval that leaves out zero, and as all share "
            "samples, images and base, they err together."
        )
    return sentences


def word(line: Line) -> str:
    """What the interval of its distance's change says, in a word or two."""
    if line.base.too_few:
        return TOO_FEW
    return "" if line.change is None else WORDS[direction(line.change)]


def interval_over(line: Line) -> str:
    """What the interval of its distance's change is over."""
    if line.change is None:
        return ABSENT
    return f"{len(line.runs)} seeds, and samples" if len(line.runs) > 1 else "samples, one seed"


def markdown(lines: Sequence[Line], bases: Sequence[Base]) -> str:
    """A Markdown table for each measure, the lines on a base below it."""
    on = grouped(lines, lambda line: line.base.id)
    return "\n".join(
        f"### {in_markdown(measure)}\n\n" + _markdown_table(same, on)
        for measure, same in grouped(bases, lambda base: base.measure).items()
    )


def evaluated(run: Run) -> dict[str, dict[str, float]]:
    """The numbers of each model in the record of an evaluation; names of distances of too few images are marked."""
    few = value_at(run.record.metrics, "depend_on.too_few")
    few = few if isinstance(few, list) else []
    models = {cut(model): found for model, found in run.record.metrics.items() if model != "depend_on"}
    return {
        model: {
            cut(name) + FEW if name in few else cut(name): value
            for name, value in found.items()
            if isinstance(value, int | float)
        }
        for model, found in models.items()
    }


def metric_names(models: dict[str, dict[str, float]]) -> list[str]:
    """The names of all metrics, in the order in which they come."""
    return list(dict.fromkeys(name for found in models.values() for name in found))


def evaluation_table(run: Run) -> str:
    """A Markdown table of what was evaluated: a row for each model."""
    models = evaluated(run)
    names = metric_names(models)
    rows = [[as_code(run.where), *map(in_markdown, names)], ["---", *["---:"] * len(names)]]
    rows += [
        [in_markdown(model), *[number(found.get(name), ".5g") for name in names]] for model, found in models.items()
    ]
    return _lines(rows)


def csv_table(bases: Iterable[Base], lines: Iterable[Line]) -> str:
    """One line a run, frozen ones too, with a header."""
    lines = list(lines)
    axes = list(dict.fromkeys(axis for line in lines for axis in line.axes))
    counted = [(run, line.base, line.name, line.method, line.axes) for line in lines for run in line.runs]
    frozen = [
        (run, base, base.name, "frozen", dict[str, str]())
        for base in bases
        for run in base.runs
        if len(run.record.rows) == 1
    ]
    rows = [_run_row(run, base) | _told(name, method, told, axes) for run, base, name, method, told in counted + frozen]
    with io.StringIO(newline="") as file:
        names = list(rows[0]) if rows else ["path"]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: in_csv(value) for name, value in row.items()} for row in rows)
        return file.getvalue()


def _told(name: str, method: str, told: dict[str, str], axes: list[str]) -> dict[str, Any]:
    return {"line": name, "method": method} | {f"axis: {axis}": told.get(axis, "") for axis in axes}


def _run_row(run: Run, base: Base) -> dict[str, Any]:
    record, row = run.record, run.record.rows[-1]
    final = record.metrics["final"]
    change = final.get(f"{base.metric}_change") or {}
    loss = record.paired.get("overall") or {}
    return {
        "path": run.where,
        "base": base.name,
        "measure": base.measure,
        "seed": run.seed,
        "distance": final.get(base.metric),
        "change": change.get("mean"),
        "change_low": change.get("low"),
        "change_high": change.get("high"),
        "loss": final.get("loss"),
        "loss_difference": loss.get("mean"),
        "loss_difference_low": loss.get("low"),
        "loss_difference_high": loss.get("high"),
        "trained_parameters": row["trained"],
        "base_parameters": row["base"],
        "training_seconds": row["seconds"],
        "peak_memory_mib": row["memory"],
        "commit": record.commit,
        "device": record.machine.get("device"),
    }


def _markdown_table(bases: Sequence[Base], lines: Mapping[str, Sequence[Line]]) -> str:
    """The bases of one measure, each with its `lines`."""
    name = in_markdown(bases[0].measure.partition(",")[0])
    header = [
        "Model",
        "Seeds",
        f"{name} ↓",
        "Δ to the frozen control [95%]",
        "Interval over",
        "Validation loss − base [95%] ↓",
    ]
    header += ["Trained parameters (of base)", "Seconds", "Peak MiB"]
    rows = [header, ["---", "---:", "---:", "---:", "---", *["---:"] * 4]]
    for base in bases:
        rows.append(
            [
                f"**{in_markdown(base.name)}** (frozen)",
                ABSENT,
                alone_text(base.distance),
                *[ABSENT] * 3,
                "0",
                ABSENT,
                ABSENT,
            ]
        )
        for line in lines.get(base.id, []):
            name = f"+ {in_markdown(line.name)}"
            rows.append([name, str(len(line.runs)), spread_text(line.distance), interval_text(line.change)])
            rows[-1] += [interval_over(line), interval_text(line.loss), parameters_text(line)]
            rows[-1] += [spread_text(line.seconds, ",.0f"), spread_text(line.memory, ",.0f")]
    return _lines(rows) + (f"\n{FEW_NOTE}\n" if bases[0].too_few else "")


def _lines(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table in Markdown, whose cells are Markdown already."""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def parameters_text(line: Line) -> str:
    """How many, and their share of the base's."""
    return f"{line.parameters:,} ({100 * line.parameters / line.base.parameters:.2f}%)"


def _directions(line: Line) -> tuple[int, ...]:
    return tuple(direction(found) if found else 0 for found in (line.change, line.loss))
