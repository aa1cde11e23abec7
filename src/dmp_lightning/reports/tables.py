"""The final table of a run, for the terminal and as Markdown, and its verdict in one line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dmp_lightning.intervals import Interval, as_interval, direction, over_seeds
from dmp_lightning.reports.settings import ABSENT
from dmp_lightning.runs.record import Results

THIS_RUN = "this run"
BASE = "pre-trained"
FEW = " †"
FEW_NOTE = "† No more samples or reference images than features: nothing can be concluded from this distance."


@dataclass(frozen=True)
class Row:
    """One run in the table; runs of the same label and origin are seeds of one and share a line.

    Args:
        label: what was done to the base, as a reader would say it.
        origin: `this run`, or `committed: PATH`.
        frechet: Fréchet distance by the name of its features; None where it was not a number.
        difference: paired validation loss minus the base's; None for the base itself.
        trained, base: parameters that were trained, and parameters of the base.
        seconds: of training. memory: its peak in MiB. None where nothing was trained.
        too_few: whether the distance is of no more samples or reference images than features.
    """

    label: str
    origin: str
    frechet: dict[str, float | None]
    difference: Interval | None
    trained: int
    base: int
    seconds: float | None
    memory: float | None
    too_few: bool = False


def rows_of(record: Results, origin: str = THIS_RUN) -> list[Row]:
    """The row of a record's base, and that of what was trained on it, if anything was."""
    trained = record.method.parameters
    base = _row(record, "base", BASE if trained else record.method.label, 0, origin)
    return [base, _row(record, "final", record.method.label, trained, origin)] if trained else [base]


def features_of(metric: str) -> str:
    """The features that a Fréchet distance was measured on, as the table names them."""
    return "Inception-v3: FID" if metric == "fid" else metric.removeprefix("frechet_").replace("_", " ")


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print the table to the terminal; below it stands where the lines that are not of this run come from."""
    header, *lines = _cells(rows)
    origins = list(dict.fromkeys(row.origin for row in rows if row.origin != THIS_RUN))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, name in enumerate(header[:-1]):
        # A terminal is narrow: what stands in brackets goes below.
        table.add_column(Text(name.replace(" (", "\n(").replace(" [", "\n[")), justify="right" if index else "left")
    for label, *cells, origin in lines:
        note = f" [{origins.index(origin) + 1}]" if origin in origins else ""
        table.add_row(Text(label + note), *[Text(cell.replace(" (", "\n(").replace(" [", "\n[")) for cell in cells])
    console = console or Console()
    console.print(table)
    for number, origin in enumerate(origins, start=1):
        console.print(Text(f"[{number}] {origin}"))
    if any(row.too_few for row in rows):
        console.print(Text(FEW_NOTE))


def print_metrics(
    metrics: Mapping[str, Mapping[str, float]], too_few: Sequence[str] = (), console: Console | None = None
) -> None:
    """Print metrics by model: a line for each model, a column for each metric, marked where it is among `too_few`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("model")
    for name in next(iter(metrics.values())):
        table.add_column(Text(name.replace("_", " ") + (FEW if name in too_few else "")), justify="right")
    for model, values in metrics.items():
        table.add_row(model, *[format(value, ".5g") for value in values.values()])
    console = console or Console()
    console.print(table)
    if too_few:
        console.print(Text(FEW_NOTE))


def markdown_table(rows: Sequence[Row]) -> str:
    """The table as Markdown, with a line end after its last line, and a note below it where a distance is marked."""
    header, *lines = _cells(rows)
    rule = ["---", *["---:"] * (len(header) - 2), "---"]
    note = f"\n{FEW_NOTE}\n" if any(row.too_few for row in rows) else ""
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *lines)) + note


def verdict(label: str, features: str, frechet: Interval, loss: Interval, samples: int, too_few: bool = False) -> str:
    """Whether the method helped in this run, in one line with its evidence.

    Samples decide, since they are what a model is for, and the loss may object: lower Fréchet distance helped unless
    the loss rose; a change within its interval leaves it open, unless the loss rose. Of too few images there is none.

    Args:
        label: the method. features: what the Fréchet distance was measured on.
        frechet, loss: change from the base (negative is better) with its 95% interval.
        samples: of which the distance is. too_few: whether there are no more images than features.
    """
    change, objection = direction(frechet), direction(loss)
    if too_few:
        answer = "cannot tell whether it helped, there are no more samples or reference images than features"
    elif change < 0 and objection <= 0:
        answer = "helped"
    elif change >= 0 and objection >= 0 and change + objection > 0:
        answer = "did not help"
    elif change * objection < 0:
        answer = "cannot tell whether it helped, the two measures disagree"
    else:
        answer = "cannot tell whether it helped, the Fréchet distance changed by less than its noise"
    evidence = f"Fréchet distance ({features}) {_change(frechet)}, validation loss {_change(loss)}"
    about = f"of this run, its {samples:,} samples and its held-out images, not of another training seed"
    return f"{label}: {answer}. {evidence}; change from the base, lower is better, with 95% intervals {about}."


def _row(record: Results, model: str, label: str, trained: int, origin: str) -> Row:
    found, metric = record.metrics[model], record.measure.metric
    assert metric is not None  # of a training
    return Row(
        label,
        origin,
        {features_of(metric): found.get(metric)},
        as_interval(found.get("loss_difference")),
        trained,
        record.base.parameters,
        found.get("training_seconds"),
        found.get("peak_memory_mib"),
        bool(record.measure.too_few),
    )


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    """The header, then one line for each label and origin, in the order of first appearance."""
    features = list(dict.fromkeys(name for row in rows for name in row.frechet))
    header = ["Model", *[f"Fréchet distance ({name}) ↓" for name in features], "Validation loss − base [95%] ↓"]
    header += ["Trained parameters (of base)", "Seconds", "Peak MiB", "From"]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.label, row.origin), []).append(row)
    return [header, *[_line(seeds, features) for seeds in groups.values()]]


def _line(seeds: list[Row], features: list[str]) -> list[str]:
    first, several = seeds[0], f" ({len(seeds)} seeds)" if len(seeds) > 1 else ""
    return [
        first.label + several,
        *[_distance(seeds, name) for name in features],
        _difference([row.difference for row in seeds]),
        f"{first.trained:,} ({100 * first.trained / first.base:.2f}%)",
        _spread([row.seconds for row in seeds], ",.0f"),
        _spread([row.memory for row in seeds], ",.0f"),
        first.origin,
    ]


def _distance(seeds: list[Row], name: str) -> str:
    text = _spread([row.frechet.get(name) for row in seeds], ".4g")
    return text + FEW if text != ABSENT and any(row.too_few for row in seeds) else text


def _difference(changes: list[Interval | None]) -> str:
    """The change with its interval: of several seeds that over seeds and samples, of one its own."""
    found = over_seeds(changes)
    return ABSENT if found is None else _change(found)


def _spread(values: Sequence[float | None], form: str) -> str:
    """The value; of several their mean ± standard deviation; of those that are missing, a dash."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ABSENT
    text = format(mean(known), form)
    return text if len(known) == 1 else f"{text} ± {format(stdev(known), form.lstrip('+'))}"


def _change(change: Interval) -> str:
    return f"{change.mean:+.3g} [{change.low:+.3g}, {change.high:+.3g}]"
