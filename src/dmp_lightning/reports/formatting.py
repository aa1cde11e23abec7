"""Numbers as a report prints them: to two digits of their own uncertainty."""

import math

from dmp_lightning.intervals import Interval, Spread
from dmp_lightning.reports.settings import ABSENT

MOST = 8  # decimals


def count(number: int, what: str) -> str:
    """`1 line`, `2 lines`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def number(value: float | None, form: str = ".4g") -> str:
    """A number as the report prints it, with a true minus sign."""
    return ABSENT if value is None else format(value, form).replace("-", "−")


def spread_text(found: Spread | None, form: str = "") -> str:
    """`mean ± deviation`, or the one value; without a `form` to two digits of the deviation."""
    if found is None:
        return ABSENT
    deviation = found.deviation
    if deviation is None or deviation <= 1e-6 * abs(found.mean):  # rounding, not spread
        return number(found.mean, form or ".4g")
    form = form or f".{_decimals(deviation)}f"
    return f"{number(found.mean, form)} ± {number(deviation, form)}"


def alone_text(found: Spread | None, form: str = ".4g") -> str:
    """The mean without a deviation: of a base, which is one model, whatever machines have measured it."""
    return number(found and found.mean, form)


def bounds_text(change: Interval) -> str:
    """`[low, high]` with signs, to two digits of half its width, or as many as tell an end from zero."""
    decimals = _decimals(change.margin)
    while decimals < MOST and any(end and round(end, decimals) == 0 for end in (change.low, change.high)):
        decimals += 1
    return f"[{number(change.low, f'+.{decimals}f')}, {number(change.high, f'+.{decimals}f')}]"


def mean_text(change: Interval) -> str:
    """The change itself, to two digits of half the width of its interval."""
    return number(change.mean, f"+.{_decimals(change.margin)}f")


def interval_text(found: Interval | None) -> str:
    """`mean [low, high]`."""
    return ABSENT if found is None else f"{mean_text(found)} {bounds_text(found)}"


def _decimals(size: float) -> int:
    """How many places show two digits of `size`."""
    return min(MOST, max(0, 1 - math.floor(math.log10(size)))) if size > 0 else 4
