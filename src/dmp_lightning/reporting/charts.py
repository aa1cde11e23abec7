"""The plots of a report in Vega-Lite: the same for the page, where they follow its colours, and for PNG files."""

import textwrap
from collections.abc import Sequence
from typing import Any

import altair as alt

from dmp_lightning.reporting.axes import Axis
from dmp_lightning.reporting.chart_look import NEUTRAL, PALETTE, SHAPES, Chart
from dmp_lightning.reporting.chart_rows import DISTANCE, FREE, change_rows, cost_rows, free_rows, gains_rows
from dmp_lightning.reporting.configs import by_value
from dmp_lightning.reporting.lines import Base, Line

DATA = "rows"
"""Name of the data of each chart."""

NARROW = 45  # letters that have room below an axis
MEAN, SEED = "datum.kind == 'mean'", "datum.kind == 'seed'"


def axis_chart(axis: Axis, quantity: str, name: str) -> Chart | None:
    """Change from the base along an axis: the mean over seeds with its deviation, and each seed as a circle."""
    rows = [
        row | {"x": _wrapped(value, axis), "series": series.name or "all else equal"}
        for series in axis.series
        for value, line in series.points
        for row in change_rows(line, quantity)
    ]
    if not rows:
        return None
    what = f"Δ {axis.measure.partition(',')[0]}" if quantity == DISTANCE else "validation loss − base"
    series = list(dict.fromkeys(row["series"] for row in rows))
    numeric = all(by_value(value)[0] == 0 for value in axis.values)
    places, room = [_wrapped(value, axis) for value in axis.values], 0.7 if numeric else 0.2  # near their number
    x = alt.X("x:N", sort=places, title=axis.name, axis=_wrapping(), scale=alt.Scale(padding=room))
    offset = alt.XOffset("series:N", sort=series) if len(series) > 1 else alt.Undefined
    y, low = _y(what, alt.Scale(zero=True), alt.Axis(grid=True))
    colour, shape = _colour("series", series), _shape("series", series)
    base = alt.Chart().encode(x=x, xOffset=offset, color=colour)
    means = base.transform_filter(MEAN)
    layers = [
        _zero(),
        *([means.mark_line(strokeWidth=1.2, opacity=0.6).encode(y=y)] if numeric else []),
        means.mark_rule(strokeWidth=2).encode(y=low, y2="high:Q"),
        base.transform_filter(SEED)
        .mark_point(size=26, opacity=0.6, strokeWidth=1.2)
        .encode(y=y, tooltip=_tooltip(what, seed=True)),
        means.mark_point(size=75, filled=True, opacity=1).encode(y=y, shape=shape, tooltip=_tooltip(what)),
    ]
    along = f"{axis.name}, from {axis.base}" if axis.base else axis.name
    title = f"{along}: {'Fréchet distance' if quantity == DISTANCE else 'validation loss'}"
    legend = list(zip(series, _colours(series), _shapes(series), strict=True)) if len(series) > 1 else []
    return Chart(name, title, f"{what} along {along}", axis.measure, _spec(layers, rows), legend, 280)


def cost_chart(bases: Sequence[Base], lines: Sequence[Line], cost: str, name: str) -> Chart | None:
    """Quality against a cost (`parameters` or `seconds`), with the front of what nothing cheaper beats."""
    rows = [row for base in bases for row in free_rows(base)]
    rows += [row for line in lines for row in cost_rows(line, cost)]
    amounts = [row["cost"] for row in rows]
    if not any(amounts):
        return None
    measure = lines[0].base.measure
    methods, names = (list(dict.fromkeys(row[field] for row in rows)) for field in ("method", "base"))
    title = "trained parameters" if cost == "parameters" else "seconds of training"
    x = alt.X("cost:Q", title=title, scale=_cost_scale(cost, amounts), axis=_cost_axis(cost, amounts))
    y, low = _y(measure.partition(",")[0], alt.Scale(zero=False), alt.Axis(grid=True))
    means = alt.Chart().transform_filter(MEAN)
    cheaper: list[alt.SortField | dict[str, str]] = [alt.SortField("cost"), alt.SortField("mean")]
    front = means.transform_window(best="min(mean)", sort=cheaper, frame=[None, 0], ignorePeers=True)
    colour, shape = _colour("method", methods), _shape("base", names)
    seeds = alt.Chart().transform_filter(SEED).mark_point(size=22, opacity=0.45)
    details = [*_tooltip(measure), alt.Tooltip("cost:Q", title=title, format=",.0f")]
    layers = [
        front.transform_filter("datum.mean == datum.best")
        .mark_line(interpolate="step-after", strokeDash=[5, 3], strokeWidth=1.4, opacity=0.75)
        .encode(x=x, y=y),
        means.mark_rule(strokeWidth=1.6).encode(x=x, y=low, y2="high:Q", color=colour),
        seeds.encode(x=x, y=y, color=colour, shape=shape, tooltip=_tooltip(measure, seed=True)),
        means.mark_point(size=85, filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=details),
    ]
    legend = [(method, colour, "circle") for method, colour in zip(methods, _colours(methods), strict=True)]
    legend += [(each, NEUTRAL, shape) for each, shape in zip(names, _shapes(names), strict=True) if len(names) > 1]
    heading, caption = f"Quality against {title}", f"{measure} against {title}; lower and further left is better"
    return Chart(name, heading, caption, measure, _spec(layers, rows), legend, 340)


def gains_chart(line: Line) -> Chart | None:
    """Validation loss minus the base's by timestep: the mean over seeds, and each seed (of one, its interval)."""
    rows = gains_rows(line)
    if not rows:
        return None
    x = alt.X("t:Q", title="timestep", scale=alt.Scale(nice=False), axis=alt.Axis(tickCount=5))
    ticks = [sign * 10**power for sign in (-1, 1) for power in range(-4, 1)] + [0]
    axis = alt.Axis(values=ticks, format="~g", grid=True)
    y, low = _y("loss − base", alt.Scale(type="symlog", constant=1e-4), axis)
    details = [alt.Tooltip("line:N"), alt.Tooltip("t:Q", title="timestep"), alt.Tooltip("mean:Q", format="+.3g")]
    means, colour = alt.Chart().transform_filter(MEAN), PALETTE[0]
    layers = [
        _zero(),
        means.mark_area(opacity=0.25, color=colour).encode(x=x, y=low, y2="high:Q"),
        alt.Chart()
        .transform_filter(SEED)
        .mark_line(strokeWidth=0.8, opacity=0.6, color=colour)
        .encode(x=x, y=y, detail="seed:N"),
        means.mark_line(strokeWidth=2, color=colour).encode(x=x, y=y),
        means.mark_point(size=24, filled=True, opacity=1, color=colour).encode(x=x, y=y, tooltip=details),
    ]
    caption = f"Validation loss minus the base's by timestep, {line.name}"
    return Chart(f"gains-{line.slug}", line.name, caption, line.base.measure, _spec(layers, rows), [], 180)


def _spec(layers: list[Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    spec = alt.layer(*layers, data=alt.InlineData(values=rows, name=DATA)).to_dict()
    spec.pop("config", None)  # Altair's own theme
    return spec


def _y(title: str, scale: alt.Scale, axis: alt.Axis) -> tuple[alt.Y, alt.Y]:
    """The mean, and the lower end of its deviation, on one vertical axis."""
    mean, low = (alt.Y(f"{field}:Q", title=title, scale=scale, axis=axis) for field in ("mean", "low"))
    return mean, low


def _zero() -> Any:
    return alt.Chart(alt.InlineData(values=[{}])).mark_rule(strokeDash=[4, 3], opacity=0.6).encode(y=alt.datum(0))


def _cost_scale(cost: str, amounts: Sequence[float]) -> alt.Scale:
    if cost == "seconds":
        return alt.Scale(zero=True, nice=False, padding=14)
    return alt.Scale(
        type="symlog", constant=min(filter(None, amounts)) / 2, nice=False, padding=14
    )  # zero has its place


def _cost_axis(cost: str, amounts: Sequence[float]) -> alt.Axis:
    if cost == "seconds":
        return alt.Axis(tickCount=6)
    least, most = min(filter(None, amounts)), max(amounts)
    ticks = [0, *(10**power for power in range(13) if least / 2 < 10**power < 3 * most)]
    return alt.Axis(values=ticks, labelExpr="datum.value < 1000 ? datum.label : format(datum.value, '~s')", format="d")


def _tooltip(what: str, seed: bool = False) -> list[Any]:
    number = alt.Tooltip("seed:N") if seed else alt.Tooltip("seeds:Q")
    return [alt.Tooltip("line:N"), alt.Tooltip("base:N"), number, alt.Tooltip("mean:Q", title=what, format=".4g")]


def _wrapped(text: str, axis: Axis) -> str:
    """In lines that have room below their place on the axis, broken at spaces and after underscores."""
    room = max(6, NARROW // max(3, len(axis.values)))
    lines = textwrap.wrap(text.replace("_", "_ "), room, break_long_words=False)
    return "\n".join(lines).replace("_ ", "_") or text


def _wrapping() -> alt.Axis:
    return alt.Axis(labelAngle=0, labelLimit=150, labelExpr="split(datum.label, '\\n')")


def _colours(domain: Sequence[str]) -> list[str]:
    patched = [name for name in domain if name != FREE]
    return [NEUTRAL if name == FREE else PALETTE[patched.index(name) % len(PALETTE)] for name in domain]


def _shapes(domain: Sequence[str]) -> list[str]:
    # Shifted by one when the colours begin again, so that no two have both in common.
    return [SHAPES[(index + index // len(PALETTE)) % len(SHAPES)] for index in range(len(domain))]


def _colour(field: str, domain: list[str]) -> alt.Color:
    scale = alt.Scale(domain=domain, range=_colours(domain))
    return alt.Color(f"{field}:N", title=None, scale=scale, **_without_legend(domain))


def _shape(field: str, domain: list[str]) -> alt.Shape:
    scale = alt.Scale(domain=domain, range=_shapes(domain))
    return alt.Shape(f"{field}:N", title=None, scale=scale, **_without_legend(domain))


def _without_legend(domain: list[str]) -> dict[str, Any]:
    """One entry needs no legend. Of several it is left to the config, which a page's own overrides."""
    return {"legend": None} if len(domain) == 1 else {}
