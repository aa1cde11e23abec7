"""Statistics over seeds, each in closed form; `combined` is the interval of all tables and plots over seeds."""

from collections.abc import Sequence
from math import hypot
from statistics import mean, stdev
from typing import NamedTuple

from scipy.stats import t as student_t

CONFIDENCE = 0.95
SEEDS, OWN = "seeds", "run"


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval, in the unit of what is estimated."""

    mean: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample, n - 1; None for one value) of `values`."""

    mean: float
    deviation: float | None
    values: list[float]


class Estimate(NamedTuple):
    """A change with its 95% interval, and what that is over: `seeds` and samples, or the samples of one `run` alone."""

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


def jackknife(change: float, leave_one_out: Sequence[float]) -> Interval:
    """95% interval of a change over samples: the delete-a-group jackknife's.

    `leave_one_out` is the change without each of n >= 2 groups of samples in turn. The margin is Student's over the
    pseudo-values n * change - (n - 1) * leave_one_out.
    """
    margin = (len(leave_one_out) - 1) * student_interval(leave_one_out).margin
    return Interval(change, change - margin, change + margin)


def combined(changes: Sequence[Interval]) -> Interval:
    """95% interval of the mean change of two runs or more that differ in the training seed alone.

    All seeds are measured on the same noise and images. What these happen to be moves all changes alike, so that their
    scatter does not show it and their mean does not lessen it; each run's own interval does show it. Half the width is
    the hypotenuse of Student's over the seeds' changes and of the runs' own, the root of their mean square. That needs
    no degrees of freedom, is never narrower than either, and covers at least 95% whatever the ratio of the two (Welch
    and Satterthwaite's covers 88 to 95% of two seeds, 92 to 95% of three).
    """
    whole = student_interval([change.mean for change in changes])
    margin = hypot(whole.margin, mean(change.margin**2 for change in changes) ** 0.5)
    return Interval(whole.mean, whole.mean - margin, whole.mean + margin)


def estimate(changes: Sequence[Interval | None]) -> Estimate | None:
    """The change that seeds found together; of one seed its own, whose interval does not hold the training seed."""
    known = [change for change in changes if change is not None]
    if not known or len(known) < len(changes):
        return None
    if len(known) == 1:
        return Estimate(known[0], OWN)
    return Estimate(combined(known), SEEDS)


def direction(change: Interval) -> int:
    """-1 or 1 where the whole interval lies below or above zero, else 0."""
    return (change.low > 0) - (change.high < 0)
