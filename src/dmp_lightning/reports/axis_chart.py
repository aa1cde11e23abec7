"""The plot of an axis in Vega-Lite: the same for the page, where it follows its colours, and for a PNG file."""

import textwrap

import altair as alt

from dmp_lightning.reports.axes import Axis
from dmp_lightning.reports.chart_look import Chart
from dmp_lightning.reports.chart_parts import (
    MEAN,
    SEED,
    layered,
    told_apart,
    tooltip,
    vertical,
    zero_line,
)
from dmp_lightning.reports.chart_rows import DISTANCE, change_rows
from dmp_lightning.reports.settings import by_value

NARROW = 45  # letters that have room below an axis
MANY = 5  # values on it


def axis_chart(axis: Axis, quantity: str, name: str) -> Chart | None:
    """Change from the base along an axis: the mean over seeds with its 95% interval, and each seed as a circle."""
    place = {value: _wrapped(value, axis) for value in axis.values}
    rows = [
        row | {"x": place[value], "series": series.name or "all else equal"}
        for series in axis.series
        for value, line in series.points
        for row in change_rows(line, quantity)
    ]
    if not rows:
        return None
    what = f"Δ {axis.measure.partition(',')[0]}" if quantity == DISTANCE else "validation loss − base"
    series = list(dict.fromkeys(row["series"] for row in rows))
    numeric = all(by_value(value)[0] == 0 for value in axis.values)
    places, room = list(place.values()), 0.7 if numeric else 0.2  # near their number
    x = alt.X("x:N", sort=places, title=axis.name, axis=_labels(len(places)), scale=alt.Scale(padding=room))
    offset = alt.XOffset("series:N", sort=series) if len(series) > 1 else alt.Undefined
    y, low = vertical(what, alt.Scale(zero=True), alt.Axis(grid=True))
    colour, shape, legend = told_apart("series", series)
    base = alt.Chart().encode(x=x, xOffset=offset, color=colour)
    means = base.transform_filter(MEAN)
    layers = [
        zero_line(),
        *([means.mark_line(strokeWidth=1.2, opacity=0.6).encode(y=y)] if numeric else []),
        means.mark_rule(strokeWidth=2).encode(y=low, y2="high:Q"),
        base.transform_filter(SEED)
        .mark_point(size=26, opacity=0.85, strokeWidth=1.2)
        .encode(y=y, tooltip=tooltip(what, seed=True)),
        means.mark_point(size=75, filled=True, opacity=1).encode(y=y, shape=shape, tooltip=tooltip(what)),
    ]
    along = f"{axis.name}, from {axis.base}" if axis.base else axis.name
    title = f"{along}: {'Fréchet distance' if quantity == DISTANCE else 'validation loss'}"
    note = f"Along it change: {', '.join(axis.settings)}."
    return Chart(name, title, f"{what} along {along}", axis.measure, layered(layers, rows), legend, 280, note)


def _wrapped(text: str, axis: Axis) -> str:
    """In lines that have room below their place on the axis, broken at spaces and after underscores."""
    room = max(6, NARROW // max(3, len(axis.values)))
    lines = textwrap.wrap(text.replace("_", "_ "), room, break_long_words=False)
    return "\n".join(lines).replace("_ ", "_") or text


def _labels(count: int) -> alt.Axis:
    """In lines; many are tilted, so that they stay apart on a phone and on paper."""
    tilt = {"labelAngle": -40, "labelAlign": "right", "labelBaseline": "middle"} if count > MANY else {"labelAngle": 0}
    return alt.Axis(labelLimit=150, labelExpr="split(datum.label, '\\n')", **tilt)
