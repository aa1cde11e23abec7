"""What the jackknife's interval of a change is about: the change at this number of samples, not the population's."""

from typing import NamedTuple

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from dmp_lightning.metrics.jackknife import frechet_change
from dmp_lightning.metrics.moments import Moments, Reference

SEEDS = 200


class Coverage(NamedTuple):
    """Shares of repeated evaluations whose interval holds the mean change of `samples`, and the population's."""

    expectation: float
    population: float


def coverage(features: int, samples: int, repeats: int, freedom: float | None) -> Coverage:
    """Of a base and a patch, off a standard normal reference by 0.3 and 0.1 in each mean, by 1.3 and 1.15 in deviation.

    Samples of both share their noise, correlated by 0.9; it is normal, or Student's of `freedom` with deviation 1.
    """
    mean, covariance = torch.zeros(features, dtype=torch.float64), torch.eye(features, dtype=torch.float64)
    reference = Reference(Moments(mean, covariance))
    population = features * ((0.1**2 + 0.15**2) - (0.3**2 + 0.3**2))
    changes = []
    for seed in range(repeats):
        chance = torch.Generator().manual_seed(seed)
        shared, own = (_noise(samples, features, freedom, chance) for _ in range(2))
        patched = 0.9 * shared + (1 - 0.9**2) ** 0.5 * own
        changes.append(frechet_change(reference, 1.3 * shared + 0.3, 1.15 * patched + 0.1).interval)
    expectation = sum(change.mean for change in changes) / repeats
    covered = [sum(change.low <= truth <= change.high for change in changes) for truth in (expectation, population)]
    return Coverage(covered[0] / repeats, covered[1] / repeats)


def _noise(samples: int, features: int, freedom: float | None, chance: torch.Generator) -> Tensor:
    normal = torch.randn(samples, features, generator=chance, dtype=torch.float64)
    if freedom is None:
        return normal
    # A chi-squared variable is the sum of as many squared normal ones.
    squares = torch.randn(samples, int(freedom), generator=chance, dtype=torch.float64).square().sum(1, keepdim=True)
    return normal / (squares / freedom).sqrt() * ((freedom - 2) / freedom) ** 0.5


def test_it_covers_the_change_at_this_number_of_samples_and_not_the_populations() -> None:
    repeats = 40
    found = coverage(features=64, samples=100, repeats=repeats, freedom=None)
    assert found.expectation >= binom.ppf(1e-4, repeats, 0.95) / repeats
    assert found.population <= binom.ppf(1 - 1e-4, repeats, 0.4) / repeats  # 0.40 of 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("samples", "freedom", "expectation", "population"),
    [
        (500, None, (0.93, 0.99), (0.60, 0.85)),
        (4_000, None, (0.92, 0.99), (0.88, 0.98)),
        (500, 3, (0.60, 0.90), (0.80, 1.0)),
        (4_000, 3, (0.65, 0.93), (0.75, 1.0)),
    ],
)
def test_its_coverage_with_64_features(
    samples: int, freedom: float | None, expectation: tuple[float, float], population: tuple[float, float]
) -> None:
    """The numbers that docs/report.md tells: it holds for light tails, and less of heavy ones."""
    found = coverage(64, samples, SEEDS, freedom)
    assert expectation[0] <= found.expectation <= expectation[1]
    assert population[0] <= found.population <= population[1]
