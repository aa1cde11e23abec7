"""Parts that plots of a report share."""

from typing import Any

import altair as alt

from dmp_lightning.reports.chart_look import NEUTRAL, PALETTE, SHAPES
from dmp_lightning.reports.chart_rows import FREE

DATA = "rows"
"""Name of the data of each chart."""

MEAN, SEED = "datum.kind == 'mean'", "datum.kind == 'seed'"


def layered(layers: list[Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A Vega-Lite spec of layers over one data set, in the page's look and not Altair's."""
    spec = alt.layer(*layers, data=alt.InlineData(values=[], name=DATA)).to_dict(validate=False)
    spec.pop("config", None)
    return with_rows(spec, rows)


def with_rows(spec: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The spec over these rows, which Altair would copy, item by item."""
    return spec | {"data": {"values": rows, "name": DATA}}


def vertical(title: str, scale: alt.Scale, axis: alt.Axis) -> tuple[alt.Y, alt.Y]:
    """The mean, and the lower end of what lies around it, on one vertical axis."""
    mean, low = (alt.Y(f"{field}:Q", title=title, scale=scale, axis=axis) for field in ("mean", "low"))
    return mean, low


def zero_line() -> Any:
    """The line of no change from the base."""
    return alt.Chart(alt.InlineData(values=[{}])).mark_rule(strokeDash=[4, 3], opacity=0.6).encode(y=alt.datum(0))


def tooltip(what: str, seed: bool = False) -> list[Any]:
    """The text on a mark: its line, and whether it is a mean of seeds or one seed."""
    number = alt.Tooltip("seed:N") if seed else alt.Tooltip("seeds:Q")
    return [alt.Tooltip("line:N"), alt.Tooltip("base:N"), number, alt.Tooltip("mean:Q", title=what, format=".4g")]


def told_apart(field: str, names: list[str]) -> tuple[alt.Color, alt.Shape, list[tuple[str, str, str]]]:
    """Colours and shapes of the `names` in `field` as encodings, and a legend of them; one name needs none.

    The base itself is grey. Shapes shift by one when the colours begin again, so that no two have both in common.
    """
    patched = [name for name in names if name != FREE]
    colour_of = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(patched)} | {FREE: NEUTRAL}
    colours = [colour_of[name] for name in names]
    shapes = [SHAPES[(index + index // len(PALETTE)) % len(SHAPES)] for index in range(len(names))]
    # Of several names the drawn legend is left to the config, which a page's own overrides.
    drawn: dict[str, Any] = {"title": None} | ({"legend": None} if len(names) == 1 else {})
    legend = list(zip(names, colours, shapes, strict=True)) if len(names) > 1 else []
    return (
        alt.Color(f"{field}:N", scale=alt.Scale(domain=names, range=colours), **drawn),
        alt.Shape(f"{field}:N", scale=alt.Scale(domain=names, range=shapes), **drawn),
        legend,
    )
