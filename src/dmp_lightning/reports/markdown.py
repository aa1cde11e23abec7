"""A report as Markdown: its tables, with links to its pictures."""

from collections.abc import Mapping, Sequence

from dmp_lightning.reports.formatting import alone_text, interval_text, number, spread_text
from dmp_lightning.reports.lines import Base, Line, grouped
from dmp_lightning.reports.report import Report
from dmp_lightning.reports.settings import ABSENT
from dmp_lightning.reports.tables import FEW, FEW_NOTE
from dmp_lightning.runs.records import Run
from dmp_lightning.runs.texts import as_code, cut, in_markdown


def report_markdown(report: Report) -> str:
    """The report without its pictures, which it links to."""
    parts = [f"# {in_markdown(report.title)}", " ".join(report.headline), markdown(report.lines, report.bases)]
    parts += [f"![{in_markdown(chart.title)}](figures/{chart.name}.png)" for chart in report.charts]
    if report.evaluations:
        parts += ["## Evaluated at full length", *map(evaluation_table, report.evaluations)]
    if report.failures:
        parts.append("## Failed")
        parts += [f"- {as_code(failure.where)}: {in_markdown(failure.error)}" for failure in report.failures]
    if report.warnings:
        parts += ["## Left out", *[f"- {in_markdown(warning)}" for warning in report.warnings]]
    return "\n\n".join(parts) + "\n"


def markdown(lines: Sequence[Line], bases: Sequence[Base]) -> str:
    """A Markdown table for each measure, the lines on a base below it."""
    on = grouped(lines, lambda line: line.base.id)
    return "\n".join(
        f"### {in_markdown(measure)}\n\n" + _markdown_table(same, on)
        for measure, same in grouped(bases, lambda base: base.measure).items()
    )


def evaluated(run: Run) -> dict[str, dict[str, float]]:
    """The numbers of each model in the record of an evaluation; names of distances of too few images are marked."""
    few = run.record.measure.too_few
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


def parameters_text(line: Line) -> str:
    """The number of trained parameters, and their share of the base's."""
    return f"{line.parameters:,} ({100 * line.parameters / line.base.parameters:.2f}%)"


def _interval_over(line: Line) -> str:
    """The noises that the interval of its distance's change is over."""
    if line.change is None:
        return ABSENT
    return f"{len(line.runs)} seeds, and samples" if len(line.runs) > 1 else "samples, one seed"


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
            rows[-1] += [_interval_over(line), interval_text(line.loss), parameters_text(line)]
            rows[-1] += [spread_text(line.seconds, ",.0f"), spread_text(line.memory, ",.0f")]
    return _lines(rows) + (f"\n{FEW_NOTE}\n" if bases[0].too_few else "")


def _lines(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table in Markdown, whose cells are Markdown already."""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
