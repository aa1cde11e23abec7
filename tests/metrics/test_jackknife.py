"""The interval of a change of the Fréchet distance, against repeated draws from known distributions."""

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor

from dmp_lightning.intervals import Change, Interval, jackknife
from dmp_lightning.metrics.jackknife import frechet_change
from dmp_lightning.metrics.moments import Moments, Reference, moments

F, N, REPEATS = 4, 400, 200
REFERENCE = Reference(Moments(torch.zeros(F, dtype=torch.float64), torch.eye(F, dtype=torch.float64)))


def draw(seed: int, shift: float) -> tuple[Tensor, Tensor]:
    """Features of base and patched samples that share most of their noise; the patched ones are off by less."""
    generator = torch.Generator().manual_seed(seed)
    shared, own = torch.randn(N, F, generator=generator), torch.randn(N, F, generator=generator)
    return shared + 0.5, 0.95 * shared + 0.3 * own + 0.5 - shift


def test_the_change_is_the_difference_of_two_frechet_distances() -> None:
    before, after = draw(0, shift=0.3)
    expected = [
        calculate_frechet_distance(x.double().mean(0).numpy(), np.cov(x.double().numpy().T), np.zeros(F), np.eye(F))
        for x in (before, after)
    ]
    assert frechet_change(REFERENCE, before, after).interval.mean == pytest.approx(expected[1] - expected[0], rel=1e-6)


def test_the_interval_is_as_wide_as_repeated_draws_spread() -> None:
    changes = [frechet_change(REFERENCE, *draw(seed, shift=0.3)).interval for seed in range(REPEATS)]
    truth = np.mean([change.mean for change in changes])
    spread = np.std([change.mean for change in changes])
    half_widths = [(change.high - change.low) / 2 for change in changes]
    assert np.mean(half_widths) / 2.09 == pytest.approx(spread, rel=0.2)  # 2.09: Student's t for 20 groups
    covered = np.mean([change.low <= truth <= change.high for change in changes])
    assert 0.9 <= covered <= 0.99


def test_nothing_changed_is_no_change() -> None:
    before, _ = draw(0, shift=0.0)
    assert frechet_change(REFERENCE, before, before) == Change(Interval(0.0, 0.0, 0.0), [0.0] * 20)


def test_the_groups_of_two_changes_give_the_interval_of_their_difference() -> None:
    base, first = draw(1, shift=0.3)
    second = 0.9 * base + 0.2 * draw(2, shift=0.0)[0]
    direct = frechet_change(REFERENCE, second, first)
    mine, theirs = frechet_change(REFERENCE, base, first), frechet_change(REFERENCE, base, second)
    groups = (np.array(mine.groups) - np.array(theirs.groups)).tolist()
    assert groups == pytest.approx(direct.groups, abs=1e-12)
    assert jackknife(mine.interval.mean - theirs.interval.mean, groups) == pytest.approx(direct.interval, abs=1e-12)
    assert jackknife(direct.interval.mean, direct.groups) == pytest.approx(direct.interval, rel=1e-9)


def test_moments_are_those_of_numpy() -> None:
    features, _ = draw(3, shift=0.0)
    found = moments(features)
    assert np.allclose(found.mean, features.double().numpy().mean(0))
    assert np.allclose(found.covariance, np.cov(features.double().numpy().T))
