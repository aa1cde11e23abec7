"""Means and changes with 95% intervals: one type, and each formula that makes one. No torch, plain floats."""

from collections.abc import Mapping, Sequence
from functools import cache
from math import fsum, hypot, sqrt
from statistics import mean, stdev
from typing import Any, NamedTuple

CONFIDENCE = 0.95
GROUPS = 20
"""Groups of samples, or of images, that a jackknife leaves out in turn."""


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval, in the unit of what is estimated."""

    mean: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2


class Change(NamedTuple):
    """A change from the base (below zero is better), and what it is without each group of samples in turn.

    Of two patches of one base, group by group, the difference of `groups` is that of the patches: the base cancels.
    """

    interval: Interval
    groups: list[float]

    def plain(self) -> dict[str, Any]:
        """The change as records and checkpoints hold it."""
        return self.interval._asdict() | {"groups": self.groups}


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample, n - 1; None for one value) of `values`."""

    mean: float
    deviation: float | None
    values: list[float]


def change_of(plain: Mapping[str, Any]) -> Change:
    """The change that `Change.plain` gave."""
    return Change(Interval(*(plain[end] for end in Interval._fields)), plain["groups"])


def as_interval(plain: Mapping[str, Any] | None) -> Interval | None:
    """A change in a record; None where there is none, or a run found no number."""
    mean, low, high = ((plain or {}).get(end) for end in Interval._fields)
    return None if mean is None or low is None or high is None else Interval(mean, low, high)


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and deviation of what seeds found; None where there is nothing, or a number is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Spread(mean(known), stdev(known) if len(known) > 1 else None, known)


def around(middle: float, margin: float) -> Interval:
    """The interval that reaches `margin` to either side."""
    return Interval(middle, middle - margin, middle + margin)


def student(middle: float, deviation: float, n: int) -> Interval:
    """Student's 95% interval of the mean of n >= 2 values, which is `middle`, with their `deviation` (n - 1)."""
    return around(middle, _quantile(n) * deviation / n**0.5)


def student_interval(values: Sequence[float]) -> Interval:
    """Student's 95% interval of the mean of two values or more."""
    return student(mean(values), stdev(values), len(values))


def jackknife(change: float, leave_one_out: Sequence[float]) -> Interval:
    """95% interval of a change over samples, by the delete-a-group jackknife (Efron and Tibshirani 1993, chapter 11).

    Args:
        change: of all samples. leave_one_out: the change without each of n >= 2 groups of samples in turn.
    """
    n, middle = len(leave_one_out), fsum(leave_one_out) / len(leave_one_out)
    return jackknife_of(change, sqrt((n - 1) / n * fsum((value - middle) ** 2 for value in leave_one_out)), n)


def jackknife_of(change: float, error: float, n: int) -> Interval:
    """The same, of the standard `error` that n groups have given: recorded runs computed it with torch, to the bit."""
    return around(change, _quantile(n) * error)


def combined(changes: Sequence[Interval]) -> Interval:
    """95% interval of the mean change of two runs or more that differ in the training seed alone.

    All seeds are measured on the same noise and images. What these happen to be moves all changes alike, so that their
    scatter does not show it and their mean does not lessen it; each run's own interval does show it. Half the width is
    the hypotenuse of Student's over the seeds' changes and of the runs' own, the root of their mean square. That needs
    no degrees of freedom, is never narrower than either, and covers at least 95% whatever the ratio of the two (Welch
    and Satterthwaite's covers 88 to 95% of two seeds, 92 to 95% of three).
    """
    whole = student_interval([change.mean for change in changes])
    return around(whole.mean, hypot(whole.margin, mean(change.margin**2 for change in changes) ** 0.5))


def over_seeds(changes: Sequence[Interval | None]) -> Interval | None:
    """The change that seeds found together, None where one found none; one seed's does not hold the training seed."""
    known = [change for change in changes if change is not None]
    if not known or len(known) < len(changes):
        return None
    return combined(known) if len(known) > 1 else known[0]


def direction(change: Interval) -> int:
    """-1 or 1 where the whole interval lies below or above zero, else 0."""
    return (change.low > 0) - (change.high < 0)


@cache
def _quantile(n: int) -> float:
    """Student's t that n - 1 degrees of freedom exceed, to either side, with 5%."""
    from scipy.stats import t as student_t  # slow to import

    return float(student_t.ppf((1 + CONFIDENCE) / 2, n - 1))
