"""The plot of gains by timestep."""

from functools import cache
from typing import Any

import altair as alt

from dmp_lightning.reports.chart_look import PALETTE, Chart
from dmp_lightning.reports.chart_parts import MEAN, SEED, layered, vertical, with_rows, zero_line
from dmp_lightning.reports.chart_rows import gains_rows
from dmp_lightning.reports.drawn import SEEDS
from dmp_lightning.reports.lines import Line

LINEAR = 1e-4  # of a loss: what is nearer to zero is drawn in proportion


def gains_chart(line: Line) -> Chart | None:
    """Validation loss minus the base's by timestep: the mean over seeds with its 95% interval, and the first seeds."""
    rows = gains_rows(line)
    if not rows:
        return None
    note = f"Thin: the first {SEEDS} of {len(line.runs):,} seeds." if len(line.runs) > SEEDS else ""
    most = max(abs(row[end]) for row in rows for end in ("mean", "low", "high") if end in row)
    title = f"{line.name}, from {line.base.name}"
    caption = f"Validation loss minus the base's by timestep, {title}"
    spec = with_rows(_spec(most < LINEAR), rows)
    return Chart(f"gains-{line.slug}", title, caption, line.base.measure, spec, [], 180, note)


@cache
def _spec(linear: bool) -> dict[str, Any]:
    """The plot without its rows, the same for all lines."""
    x = alt.X("t:Q", title="timestep", scale=alt.Scale(nice=False), axis=alt.Axis(tickCount=5))
    y, low = vertical("loss − base", *_scale(linear))
    details = [alt.Tooltip("line:N"), alt.Tooltip("t:Q", title="timestep"), alt.Tooltip("mean:Q", format="+.3g")]
    means, colour = alt.Chart().transform_filter(MEAN), PALETTE[0]
    layers = [
        zero_line(),
        means.mark_area(opacity=0.25, color=colour).encode(x=x, y=low, y2="high:Q"),
        alt.Chart()
        .transform_filter(SEED)
        .mark_line(strokeWidth=0.8, opacity=0.6, color=colour)
        .encode(x=x, y=y, detail="seed:N"),
        means.mark_line(strokeWidth=2, color=colour).encode(x=x, y=y),
        means.mark_point(size=24, filled=True, opacity=1, color=colour).encode(x=x, y=y, tooltip=details),
    ]
    return layered(layers, [])


def _scale(linear: bool) -> tuple[alt.Scale, alt.Axis]:
    """Linear within 1e-4 of zero and logarithmic beyond; linear where nothing is beyond."""
    if linear:
        return alt.Scale(), alt.Axis(tickCount=5, format="~g", grid=True)
    ticks = [sign * 10**power for sign in (-1, 1) for power in range(-4, 1)] + [0]
    return alt.Scale(type="symlog", constant=LINEAR), alt.Axis(values=ticks, format="~g", grid=True)
