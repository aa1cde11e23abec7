"""Intervals over seeds and over samples, against scipy and closed forms."""

import numpy as np
import pytest
from scipy import stats

from dmp_lightning.intervals import (
    Change,
    Interval,
    change_of,
    combined,
    direction,
    jackknife,
    over_seeds,
    spread,
    student_interval,
)
from dmp_lightning.reports.formatting import bounds_text, spread_text


@pytest.mark.parametrize("values", [[-4.0, -5.0], [-4.0, -5.5, -6.0], [0.1, 0.2, -0.3, 0.7, 1.1]])
def test_the_interval_over_seeds_is_that_of_a_t_test(values: list[float]) -> None:
    interval = student_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval == pytest.approx((np.mean(values), expected.low, expected.high))


def test_the_change_over_several_seeds_holds_their_scatter_and_their_own_noise() -> None:
    found = over_seeds([Interval(-4.0, -4.1, -3.9), Interval(-6.0, -9.0, -3.0), Interval(-5.0, -5.0, -5.0)])
    assert found is not None
    seeds, own = 4.302653**2 / 3, (0.1**2 + 3**2) / 3  # Student's t of two degrees of freedom, deviation 1
    half = (seeds + own) ** 0.5
    assert found == pytest.approx((-5, -5 - half, -5 + half))


def test_of_two_seeds_the_closed_form() -> None:
    half = (12.706205**2 / 2 + 0.5**2) ** 0.5  # Student's t of one degree of freedom, deviation 1
    found = combined([Interval(0.0, -0.5, 0.5), Interval(2**0.5, 2**0.5 - 0.5, 2**0.5 + 0.5)])
    assert found == pytest.approx((2**-0.5, 2**-0.5 - half, 2**-0.5 + half))


@pytest.mark.parametrize("own", [0.0, 0.3, 5.0])
def test_it_is_never_narrower_than_either_noise_alone(own: float) -> None:
    values = [0.1, 0.4, -0.3]
    found = combined([Interval(value, value - own, value + own) for value in values])
    assert found.margin >= max(own, student_interval(values).margin)
    if own == 0:
        assert found == pytest.approx(student_interval(values))


@pytest.mark.parametrize("values", [[-4.0, -5.0], [0.1, 0.2, -0.3, 0.7, 1.1]])
def test_the_jackknife_of_a_mean_is_a_t_test(values: list[float]) -> None:
    without = [np.delete(values, left_out).mean() for left_out in range(len(values))]
    assert jackknife(float(np.mean(values)), without) == pytest.approx(student_interval(values))


def test_the_jackknife_is_the_closed_form() -> None:
    """Of leave-one-out changes -1, 0 and 1: two thirds of their squares, 2, and Student's t of 2 degrees of freedom."""
    half = 4.302653 * (4 / 3) ** 0.5
    assert jackknife(7.0, [-1.0, 0.0, 1.0]) == pytest.approx((7, 7 - half, 7 + half))


def test_a_change_comes_back_from_what_is_written_down() -> None:
    change = Change(Interval(-1.0, -2.0, 0.5), [-1.5, -0.5])
    assert change_of(change.plain()) == change


def test_one_seed_has_its_own_interval_and_none_none() -> None:
    own = Interval(-1, -2, 0.5)
    assert over_seeds([own]) == own
    assert over_seeds([own, None]) is None
    assert over_seeds([]) is None


def test_spread_is_that_of_a_sample() -> None:
    found = spread([1.0, 2.0, 6.0])
    assert found is not None
    assert (found.mean, found.deviation) == pytest.approx((3, np.std([1, 2, 6], ddof=1)))
    assert spread([2.0]) == (2.0, None, [2.0])
    assert spread([2.0, None]) is None


def test_direction_needs_the_whole_interval() -> None:
    assert [direction(Interval(0, *ends)) for ends in ((-2, -1), (1, 2), (-1, 1), (-1, 0))] == [-1, 1, 0, 0]


def test_numbers_are_printed_to_two_digits_of_their_uncertainty() -> None:
    assert spread_text(spread([6.2, 6.9, 6.7])) == "6.60 ± 0.36"
    assert spread_text(spread([14.09, 14.09])) == "14.09"
    assert spread_text(None) == "–"
    assert bounds_text(Interval(-0.0015, -0.00172, -0.00133)) == "[−0.00172, −0.00133]"
    assert bounds_text(Interval(-1.0, -1.96, -0.04)) == "[−1.96, −0.04]"  # no end is taken for zero
