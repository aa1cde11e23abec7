"""Conditions of different lengths stand beside each other: the shorter ones are padded and masked."""

import torch

from dmp_lightning.condition import Condition


def texts(rows: int, length: int, first: float) -> Condition:
    states = first + torch.arange(rows * length * 2).view(rows, length, 2)
    return Condition(text=states, mask=torch.ones(rows, length, dtype=torch.bool), pooled=first + torch.zeros(rows, 3))


def test_a_shorter_null_takes_the_place_of_texts() -> None:
    found = texts(2, 3, 1.0).drop(torch.tensor([False, True]), texts(1, 1, 50.0))
    assert torch.equal(found.text[0], texts(2, 3, 1.0).text[0])
    assert found.text[1].tolist() == [[50, 51], [0, 0], [0, 0]]
    assert found.mask.tolist() == [[True, True, True], [True, False, False]]
    assert found.pooled.tolist() == [[1.0] * 3, [50.0] * 3]


def test_a_longer_null_pads_the_texts() -> None:
    found = texts(2, 1, 1.0).drop(torch.tensor([False, True]), texts(1, 2, 50.0))
    assert found.text.tolist() == [[[1, 2], [0, 0]], [[50, 51], [52, 53]]]
    assert found.mask.tolist() == [[True, False], [True, True]]


def test_conditions_of_different_lengths_are_joined() -> None:
    found = texts(1, 1, 1.0).join(texts(1, 2, 50.0))
    assert found.text.tolist() == [[[1, 2], [0, 0]], [[50, 51], [52, 53]]]
    assert found.mask.tolist() == [[True, False], [True, True]]
