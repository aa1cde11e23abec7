"""Statistics over seeds, each in closed form."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from scipy.stats import t as student_t

from dmp_lightning.reporting.tables import Interval

CONFIDENCE = 0.95
SEEDS, OWN = "seeds", "run"


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample, n - 1; None for one value) of `values`."""

    mean: float
    deviation: float | None
    values: list[float]


class Estimate(NamedTuple):
    """A change with its 95% interval, and what that is over: `seeds` (Student's t), or the one `run`'s own samples."""

    interval: Interval
    over: str


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and deviation of what seeds found; None where there is nothing, or a number is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Spread(mean(known), stdev(known) if len(known) > 1 else None, known)


def student_interval(values: Sequence[float]) -> Interval:
    """Student's 95% interval of the mean of two values or more."""
    n, middle = len(values), mean(values)
    margin = float(student_t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(values) / n**0.5
    return Interval(middle, middle - margin, middle + margin)


def estimate(changes: Sequence[Interval | None]) -> Estimate | None:
    """The change that seeds found together; of one seed its own, with its own interval."""
    known = [change for change in changes if change is not None]
    if not known or len(known) < len(changes):
        return None
    if len(known) == 1:
        return Estimate(known[0], OWN)
    return Estimate(student_interval([change.mean for change in known]), SEEDS)


def direction(change: Interval) -> int:
    """-1 or 1 where the whole interval lies below or above zero, else 0."""
    return (change.low > 0) - (change.high < 0)
