"""The report as one HTML page that needs nothing else: style, script, data and pictures are all inside."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from dmp_lightning.intervals import spread
from dmp_lightning.reports.chart_look import Chart, config, vegalite_version
from dmp_lightning.reports.chart_parts import DATA
from dmp_lightning.reports.formatting import alone_text, bounds_text, mean_text, number, spread_text
from dmp_lightning.reports.gate_usage import DEAD
from dmp_lightning.reports.headline import TOO_FEW, WORDS, word
from dmp_lightning.reports.lines import Base, Line, grouped
from dmp_lightning.reports.markdown import evaluated, metric_names
from dmp_lightning.reports.report import Report
from dmp_lightning.reports.tables import FEW_NOTE

TEMPLATES = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """The page."""
    return _template().render(
        report=report,
        tables=_tables(report.bases, report.lines),
        facets=_facets(report),
        data=Markup(_data(report)),
        vega=Markup(_vega()),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATES / "script.js").read_text(encoding="utf-8")),
        word=word,
        OPEN=WORDS[0],
        TOO_FEW=TOO_FEW,
        forest=_forest,
        gates_alike=lambda maps: maps.weights[1] - maps.weights[0] <= 0.011 * abs(maps.weights[1]),
        dead=DEAD,
        FEW_NOTE=FEW_NOTE,
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "spread": spread_text,
        "alone": alone_text,
        "over_seeds": lambda values, form: spread_text(spread(values), form),
        "bounds": bounds_text,
        "mean": mean_text,
        "evaluated": evaluated,
        "metric_names": metric_names,
    }
    return environment.get_template("report.html")


def _tables(bases: Sequence[Base], lines: Sequence[Line]) -> list[dict[str, Any]]:
    """A table for each measure; for each of its bases the lines on it."""
    on = grouped(lines, lambda line: line.base.id)
    return [
        {
            "measure": measure,
            "name": measure.partition(",")[0],
            "groups": [(base, on.get(base.id, []), _ends(on.get(base.id, []))) for base in same],
        }
        for measure, same in grouped(bases, lambda base: base.measure).items()
    ]


def _facets(report: Report) -> list[tuple[str, str, list[str]]]:
    """Filters of the page: a key, its name, and its values; only where there is a choice."""
    used = {line.base.id for line in report.lines}
    bases = [base for base in report.bases if base.id in used]
    facets = [
        ("method", "Method", [line.method for line in report.lines]),
        ("measure", "Measured on", [base.measure for base in bases]),
        ("base", "Base", [base.name for base in bases]),
    ]
    told = {"method", "base"}  # by themselves
    swept = dict.fromkeys(axis for line in report.lines for axis in line.axes if axis not in told)
    facets += [
        (f"axis-{axis}", axis, [line.axes[axis] for line in report.lines if axis in line.axes]) for axis in swept
    ]
    found = [(key, name, list(dict.fromkeys(values))) for key, name, values in facets]
    return [facet for facet in found if len(facet[2]) > 1]


def _data(report: Report) -> str:
    """Lines with what they are filtered by, and all charts, as JSON inside a script."""
    shown = [
        {"id": line.id, "method": line.method, "measure": line.base.measure, "base": line.base.name}
        | {f"axis-{axis}": value for axis, value in line.axes.items()}
        for line in report.lines
    ]
    shown += [{"id": base.id, "measure": base.measure, "base": base.name} for base in report.bases]
    content = {"lines": shown, "rows": DATA, "charts": [_chart(chart) for chart in report.charts]}
    return json.dumps(content, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")  # no end of the script


def _chart(chart: Chart) -> dict[str, Any]:
    sized = {"width": "container", "height": chart.height, "autosize": {"type": "fit-x", "contains": "padding"}}
    look = config("currentColor") | {"legend": {"disable": True}}  # the page's own wraps
    return {"name": chart.name, "spec": chart.spec | sized | {"config": look}}


@cache
def _vega() -> str:
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vegalite_version()).replace(
        "</script", "<\\/script"
    )


def _ends(lines: Sequence[Line]) -> tuple[float, float]:
    """The ends of an axis that holds zero and the intervals of all lines."""
    known = [line.change for line in lines if line.change is not None]
    return min([0.0, *(each.low for each in known)]), max([0.0, *(each.high for each in known)])


def _forest(line: Line, ends: tuple[float, float]) -> dict[str, float] | None:
    """Where the interval of a line lies, in per cent of the axis between `ends`."""
    if line.change is None:
        return None
    low, high = ends
    width = (high - low) or 1.0
    places = {"zero": 0.0, "mean": line.change.mean, "low": line.change.low}
    places["high"] = line.change.high
    return {name: round(2 + 96 * (value - low) / width, 2) for name, value in places.items()}
