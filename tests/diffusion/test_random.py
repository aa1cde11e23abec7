import itertools

import pytest
import torch

from dmp_lightning.draws import Stream, generator, generators, normal


def draw(*key):
    return torch.randn(2000, generator=generator(*key))


def test_the_same_counters_give_the_same_numbers_whatever_was_drawn_before():
    first = draw(0, Stream.TRAINING, 5)
    torch.manual_seed(1)
    torch.randn(3)
    assert torch.equal(draw(0, Stream.TRAINING, 5), first)


def test_the_numbers_stay_the_same_from_release_to_release():
    assert generator(0, Stream.GENERATION, 3).initial_seed() == 3505701067999587963


def test_neighbours_are_independent():
    keys = [*itertools.product((0, 1), Stream, (0, 1)), (0, Stream.TRAINING, 0, 1), (0, Stream.TRAINING, 1, 1)]
    correlation = torch.corrcoef(torch.stack([draw(*key) for key in keys]))
    assert (correlation - torch.eye(len(keys))).abs().max() < 5 / 2000**0.5


@pytest.mark.parametrize("indices", [[4], [2, 4], [4, 3, 2, 1, 0]])
def test_the_noise_of_a_sample_does_not_depend_on_its_company(indices):
    noise = normal(generators(0, Stream.GENERATION, indices), (2, 3, 3))
    alone = torch.randn((2, 3, 3), generator=generator(0, Stream.GENERATION, 4))
    assert noise.shape == (len(indices), 2, 3, 3)
    assert torch.equal(noise[indices.index(4)], alone)
