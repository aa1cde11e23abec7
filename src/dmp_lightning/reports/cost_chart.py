"""The plot of quality against cost."""

from collections.abc import Sequence

import altair as alt

from dmp_lightning.reports.chart_look import Chart
from dmp_lightning.reports.chart_parts import (
    MEAN,
    SEED,
    layered,
    told_apart,
    tooltip,
    vertical,
)
from dmp_lightning.reports.chart_rows import cost_rows, free_rows
from dmp_lightning.reports.lines import Base, Line


def cost_chart(base: Base, lines: Sequence[Line], cost: str, name: str, among: str) -> Chart | None:
    """Quality of the lines on a base against a cost (`parameters` or `seconds`), with the front of what nothing cheaper
    beats. `among` tells the chart from others of the cost."""
    rows = [*free_rows(base), *[row for line in lines for row in cost_rows(line, cost)]]
    amounts = [row["cost"] for row in rows]
    if not any(amounts):
        return None
    measure = base.measure
    methods = list(dict.fromkeys(row["method"] for row in rows))
    title = "trained parameters" if cost == "parameters" else "seconds of training"
    x = alt.X("cost:Q", title=title, scale=_cost_scale(cost, amounts), axis=_cost_axis(cost, amounts))
    y, low = vertical(measure.partition(",")[0], alt.Scale(zero=False), alt.Axis(grid=True))
    means = alt.Chart().transform_filter(MEAN)
    cheaper: list[alt.SortField | dict[str, str]] = [alt.SortField("cost"), alt.SortField("mean")]
    front = means.transform_window(best="min(mean)", sort=cheaper, frame=[None, 0], ignorePeers=True)
    colour, shape, legend = told_apart("method", methods)
    seeds = alt.Chart().transform_filter(SEED).mark_point(size=22, opacity=0.7)
    details = [*tooltip(measure), alt.Tooltip("cost:Q", title=title, format=",.0f")]
    layers = [
        front.transform_filter("datum.mean == datum.best")
        .mark_line(interpolate="step-after", strokeDash=[5, 3], strokeWidth=1.4, opacity=0.75)
        .encode(x=x, y=y),
        means.mark_rule(strokeWidth=1.6).encode(x=x, y=low, y2="high:Q", color=colour),
        seeds.encode(x=x, y=y, color=colour, tooltip=tooltip(measure, seed=True)),
        means.mark_point(size=85, filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=details),
    ]
    heading = f"Quality against {title}{among}"
    caption = f"{measure} against {title}{among}; lower and further left is better"
    return Chart(name, heading, caption, measure, layered(layers, rows), legend, 340)


def _cost_scale(cost: str, amounts: Sequence[float]) -> alt.Scale:
    if cost == "seconds":
        return alt.Scale(zero=True, nice=False, padding=14)
    # Logarithmic, and zero has its place.
    return alt.Scale(type="symlog", constant=min(filter(None, amounts)) / 2, nice=False, padding=14)


def _cost_axis(cost: str, amounts: Sequence[float]) -> alt.Axis:
    if cost == "seconds":
        return alt.Axis(tickCount=6)
    least, most = min(filter(None, amounts)), max(amounts)
    steps = (1, 2, 5) if most < 20 * least else (1,)
    ticks = [0, *(step * 10**power for power in range(13) for step in steps if least / 2 < step * 10**power < 2 * most)]
    return alt.Axis(values=ticks, labelExpr="datum.value < 1000 ? datum.label : format(datum.value, '~s')", format="d")
