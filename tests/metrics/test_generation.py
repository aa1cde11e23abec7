"""Generation: sample n is the same in any batch and on any process."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.diffusion.schedule import linear_betas
from dmp_lightning.metrics.drawn import generate

SHAPE = (1, 2, 2)
SCALE = torch.nn.Parameter(torch.tensor(0.5))


def model(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
    """Element by element, so that no batch size changes the order of a sum."""
    epsilon = SCALE * x + 0.1 * condition.label[:, None, None, None] + 0.001 * t[:, None, None, None]
    return torch.cat([epsilon, torch.zeros_like(x)], dim=1)


def samples(
    indices: list[int], batch_size: int = 4, seed: int = 0, labels: Sequence[int] = (0, 1, 2), **options
) -> dict[int, Tensor]:
    # Ancestral sampling draws noise at every step, from the sample's own source.
    scheduler = partial(DDPMScheduler, variance_type="learned_range", clip_sample=False)
    batches = generate(
        model,
        Sampler(scheduler, steps=5, respaced=True),
        DDPM(linear_betas(50)),
        SHAPE,
        Condition(torch.tensor(labels)),
        indices=indices,
        seed=seed,
        batch_size=batch_size,
        **options,
    )
    return {n: sample for batch, images in batches for n, sample in zip(batch, images, strict=True)}


@pytest.mark.parametrize(
    ("indices", "batch_size"),
    [(range(10), 1), (range(10), 3), (range(10), 64), (range(0, 10, 2), 4), (range(1, 10, 2), 4), ([7, 2], 2)],
)
def test_sample_does_not_depend_on_its_company(indices, batch_size: int):
    everything = samples(range(10))
    some = samples(indices, batch_size)
    assert list(some) == list(indices)
    for n, sample in some.items():
        assert torch.equal(sample, everything[n])


def test_samples_differ_by_index_and_seed():
    first, other = samples(range(6), labels=[0]), samples(range(6), labels=[0], seed=1)
    drawn = torch.stack([*first.values(), *other.values()])
    assert drawn.unique(dim=0).shape == drawn.shape


def test_labels_go_round_by_index():
    """Sample 4 of three classes has label 1: what a run that knows label 1 only makes of it."""
    everything = samples(range(6))
    assert torch.equal(samples([4], labels=[1])[4], everything[4])
    assert not torch.equal(samples([4], labels=[2])[4], everything[4])


def test_latents_are_decoded():
    torch.testing.assert_close(samples([3], decode=lambda x: 2 * x + 1)[3], 2 * samples([3])[3] + 1)


def test_gradients_are_off_within_and_on_for_the_caller():
    decoded = []

    def decode(x: Tensor) -> Tensor:
        decoded.append(torch.is_grad_enabled())
        return SCALE * x

    batches = generate(
        model,
        Sampler(partial(DDPMScheduler, variance_type="learned_range"), steps=2, respaced=True),
        DDPM(linear_betas(50)),
        SHAPE,
        Condition(torch.tensor([0])),
        indices=[0, 1],
        seed=0,
        batch_size=1,
        decode=decode,
    )
    for _, images in batches:
        assert torch.is_grad_enabled()
        assert not images.requires_grad
    assert decoded == [False, False]
