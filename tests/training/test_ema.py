"""The average against its closed form."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import lightning as L
import pytest
import torch
from torch import nn

from dmp_lightning.training.ema import EMA
from dmp_lightning.training.module import DiffusionModule

TRAINER = MagicMock(spec=L.Trainer, accumulate_grad_batches=1)


def module(weight: nn.Parameter) -> MagicMock:
    fake = MagicMock(spec=DiffusionModule)
    fake.method = SimpleNamespace(trained=lambda: {"w": weight})
    return fake


def test_it_is_the_weighted_sum_of_all_weights_so_far() -> None:
    decay, values = 0.8, [1.0, 5.0, -2.0, 7.0]
    weight = nn.Parameter(torch.tensor([values[0]]))
    ema, trained = EMA(decay), module(weight)
    ema.on_fit_start(TRAINER, trained)
    for value in values[1:]:
        weight.data.fill_(value)
        ema.on_train_batch_end(TRAINER, trained, None, None, 0)
    powers = [decay**3] + [(1 - decay) * decay**n for n in (2, 1, 0)]
    expected = sum(power * value for power, value in zip(powers, values, strict=True))
    assert ema.averages["w"].item() == pytest.approx(expected)


def test_validation_sees_the_average_and_training_goes_on_with_the_weights() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    ema, trained = EMA(0.5), module(weight)
    ema.on_fit_start(TRAINER, trained)
    weight.data.fill_(3.0)
    ema.on_train_batch_end(TRAINER, trained, None, None, 0)
    ema.on_validation_start(TRAINER, trained)
    assert weight.item() == 2.0
    ema.on_validation_end(TRAINER, trained)
    assert (weight.item(), ema.averages["w"].item()) == (3.0, 2.0)
