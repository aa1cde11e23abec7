"""Findings of a validation in a checkpoint: all come back."""

import torch

from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.intervals import Change, Interval
from dmp_lightning.metrics.features import Pixels
from dmp_lightning.metrics.paired_loss import compare
from dmp_lightning.training.hooks.frechet import Generation
from dmp_lightning.training.hooks.paired_loss import PairedValidation


def generation() -> Generation:
    sampler = Sampler(lambda **_: None, steps=1)
    return Generation(Pixels((1, 2, 2)), sampler, samples=4, batch_size=4, shown=1, guidance={}, seed=0)


def test_the_change_of_the_distance_comes_back() -> None:
    saved, loaded = generation(), generation()
    loaded.load_state_dict(saved.state_dict())
    assert loaded.change is None
    saved.distance, saved.change = 3.0, Change(Interval(-1.0, -2.0, 0.5), [-1.0, -1.1])
    state = saved.state_dict()
    loaded.load_state_dict(state)
    assert (loaded.distance, loaded.change) == (3.0, saved.change)


def test_the_comparison_of_losses_comes_back() -> None:
    saved, loaded = PairedValidation(), PairedValidation()
    loaded.load_state_dict(saved.state_dict())
    assert loaded.comparison is None
    saved.comparison = compare(torch.rand(5, 3), torch.rand(5, 3))
    state = saved.state_dict()
    loaded.load_state_dict(state)
    assert loaded.comparison == saved.comparison
