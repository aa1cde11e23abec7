"""The look of the plots of a report, and their PNG files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from dmp_lightning.files import replacing
from dmp_lightning.reports.figures import COLOURS

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
PALETTE = COLOURS[:6]  # not the black, which a dark page would hide
NEUTRAL = "#8a8f96"
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
WIDTH = 620  # of a PNG, in pixels of the page


@dataclass(frozen=True)
class Chart:
    """A plot: its file's name, a title, what it shows in words, its measure, and the Vega-Lite spec without a size.

    `legend` has a label, colour and shape for each entry; `note` is what else a reader has to know.
    """

    name: str
    title: str
    caption: str
    measure: str
    spec: dict[str, Any]
    legend: list[tuple[str, str, str]]
    height: int
    note: str = ""


def save_png(chart: Chart, path: Path, width: int = WIDTH) -> None:
    """Write a chart as it is printed: on white, twice the pixels."""
    title = {"text": chart.title, "subtitle": chart.measure}
    spec = chart.spec | {"width": width, "height": chart.height, "title": title, "background": "white"}
    picture = vl_convert.vegalite_to_png(spec, vl_version=vegalite_version(), scale=2, config=config("#222"))
    with replacing(path) as temporary:
        temporary.write_bytes(picture)


def vegalite_version() -> str:
    """Major and minor version of Vega-Lite that the charts are written in."""
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def config(ink: str) -> dict[str, Any]:
    """The look of all charts, their text and lines in one colour; `currentColor` follows the page."""
    text = {"labelColor": ink, "titleColor": ink, "labelFont": FONT, "titleFont": FONT, "titleFontWeight": "normal"}
    lines = {"domainColor": ink, "tickColor": ink, "gridColor": ink, "domainOpacity": 0.4, "tickOpacity": 0.4}
    return {
        "background": "transparent",
        "font": FONT,
        "axis": text | lines | {"gridOpacity": 0.12, "labelFontSize": 12, "titleFontSize": 12, "titlePadding": 10},
        "axisX": {"grid": False},
        "legend": text
        | {"orient": "bottom", "direction": "vertical", "labelLimit": 600, "labelFontSize": 12, "symbolOpacity": 1},
        "title": {"color": ink, "font": FONT, "fontSize": 14, "fontWeight": 600, "anchor": "start", "offset": 14}
        | {"subtitleColor": ink, "subtitleFont": FONT, "subtitleFontSize": 12, "subtitlePadding": 4},
        "view": {"stroke": None},
        "rule": {"color": ink},
        "line": {"color": ink},
    }
