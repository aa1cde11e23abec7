"""How often the interval over seeds covers the true change, when all seeds share the noise of their evaluation."""

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student_t

from dmp_lightning.intervals import Interval, combined, jackknife, student_interval

SEEDS, GROUPS = 3, 20
OF_SEEDS_ALONE = {0.5: 0.917, 1.0: 0.836, 2.0: 0.645}
"""Closed form: P(|T| < 4.303 / sqrt(1 + 3 r²)) of Student's T with 2 degrees of freedom; r is the ratio of noises."""


def coverage(ratio: float, experiments: int, seeds: int = SEEDS) -> tuple[float, float]:
    """Share of experiments whose interval holds the true change, 0: combined, and over the seeds alone.

    Seeds scatter by 1, the evaluation's noise, one draw for all seeds, by `ratio`. Each run knows its own standard
    error from a jackknife of 20 groups.
    """
    chance = np.random.default_rng(0)
    quantile = float(student_t.ppf(0.975, GROUPS - 1))
    both = alone = 0
    for _ in range(experiments):
        values = chance.standard_normal(seeds) + ratio * chance.standard_normal()
        margin = quantile * ratio * (chance.chisquare(GROUPS - 1) / (GROUPS - 1)) ** 0.5
        whole = combined([Interval(value, value - margin, value + margin) for value in values.tolist()])
        old = student_interval(values.tolist())
        both += whole.low <= 0 <= whole.high
        alone += old.low <= 0 <= old.high
    return both / experiments, alone / experiments


def coverage_of_two_lines(ratio: float, experiments: int) -> float:
    """Share of experiments whose combined interval holds the true difference of two lines, 0, by their groups.

    The difference scatters by 1 over seeds, and by `ratio` through the noise that all seeds of both lines share. Of it
    each line's groups see their own part and one that cancels.
    """
    chance = np.random.default_rng(1)
    covered = 0
    for _ in range(experiments):
        common = chance.standard_normal(GROUPS)
        noises = [common + ratio * (GROUPS / 2) ** 0.5 * chance.standard_normal(GROUPS) for _ in range(2)]
        without = [(noise.sum() - noise) / (GROUPS - 1) for noise in noises]
        groups = (without[0] - without[1]).tolist()
        values = noises[0].mean() - noises[1].mean() + chance.standard_normal(SEEDS)
        whole = combined([jackknife(value, groups) for value in values.tolist()])
        covered += whole.low <= 0 <= whole.high
    return covered / experiments


@pytest.mark.parametrize("ratio", OF_SEEDS_ALONE)
def test_the_difference_of_two_lines_is_covered_too(ratio: float) -> None:
    experiments = 1_000
    low, high = binom.ppf([5e-7, 1 - 5e-7], experiments, [0.95, 0.98]) / experiments
    assert low <= coverage_of_two_lines(ratio, experiments) <= high


@pytest.mark.parametrize("ratio", OF_SEEDS_ALONE)
def test_the_combined_interval_covers_what_seeds_alone_do_not(ratio: float) -> None:
    experiments = 1_000
    both, alone = coverage(ratio, experiments)
    # What would be seen once in a million of the closed form, and of 95 and 98%.
    low, high = binom.ppf([5e-7, 1 - 5e-7], experiments, OF_SEEDS_ALONE[ratio]) / experiments
    assert low <= alone <= high
    assert (
        binom.ppf(5e-7, experiments, 0.95) / experiments <= both <= binom.ppf(1 - 5e-7, experiments, 0.98) / experiments
    )


@pytest.mark.slow
@pytest.mark.parametrize("ratio", OF_SEEDS_ALONE)
def test_its_coverage_to_half_a_per_cent(ratio: float) -> None:
    both, alone = coverage(ratio, 40_000)
    assert alone == pytest.approx(OF_SEEDS_ALONE[ratio], abs=0.01)
    assert 0.95 <= both <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0, 4.0])
def test_it_covers_of_other_numbers_of_seeds(ratio: float, seeds: int) -> None:
    both, _ = coverage(ratio, 40_000, seeds)
    assert 0.945 <= both <= 0.99
