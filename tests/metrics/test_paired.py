"""The paired validation loss: intervals against SciPy, draws that depend on counters alone."""

import pytest
import scipy.stats
import torch
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.schedule import cosine_betas, linear_betas
from dmp_lightning.intervals import jackknife
from dmp_lightning.metrics.paired_loss import compare, per_sample_losses, validation_draws

SHAPE = (2, 3, 3)
PROCESS = DDPM(linear_betas(100))


def loss_tables(images: int = 30, strata: int = 5) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    base = torch.rand(images, strata, generator=source)
    image_effect = torch.randn(images, 1, generator=source)  # losses of one image go together
    return base, base + 0.1 * torch.randn(images, strata, generator=source) + image_effect - 0.2


def test_interval_is_scipys_over_the_images_means():
    base, patched = loss_tables()
    expected = scipy.stats.ttest_1samp((patched.double() - base.double()).mean(1), 0).confidence_interval(0.95)
    overall = compare(base, patched).overall.interval
    assert (overall.low, overall.high) == pytest.approx(tuple(expected), rel=1e-9)
    assert overall.mean == pytest.approx((patched.double() - base.double()).mean().item(), rel=1e-12)


def test_each_stratum_has_scipys_interval():
    base, patched = (table.double() for table in loss_tables())
    bands = compare(base, patched).by_stratum
    assert len(bands) == 5
    for stratum in range(5):
        expected = scipy.stats.ttest_rel(patched[:, stratum], base[:, stratum]).confidence_interval(0.95)
        assert (bands[stratum].low, bands[stratum].high) == pytest.approx(tuple(expected), rel=1e-9)


def test_more_timesteps_of_the_same_images_add_no_certainty():
    """Repeated columns hold no news: an interval that took each loss for an observation would shrink."""
    base, patched = loss_tables()
    once, often = compare(base, patched).overall, compare(base.repeat(1, 9), patched.repeat(1, 9)).overall
    assert often.interval == pytest.approx(once.interval, rel=1e-7)


@pytest.mark.parametrize("images", [2, 15, 20])
def test_of_few_images_the_groups_give_the_same_interval(images: int):
    (overall, groups), _ = compare(*loss_tables(images))
    assert jackknife(overall.mean, groups) == pytest.approx(overall, rel=1e-9)


def test_of_many_images_the_groups_give_scipys_interval_over_the_groups_means():
    base, patched = loss_tables(60)
    means = (patched.double() - base.double()).mean(1).reshape(3, 20).mean(0)
    expected = scipy.stats.ttest_1samp(means, 0).confidence_interval(0.95)
    (overall, groups), _ = compare(base, patched)
    found = jackknife(overall.mean, groups)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-9)


def test_the_base_cancels_from_the_difference_of_two_patches_groups():
    base, first = loss_tables(50)
    second = base.flip(0) - 0.1
    mine, theirs = (compare(base, patched).overall.groups for patched in (first, second))
    groups = [own - other for own, other in zip(mine, theirs, strict=True)]
    assert groups == pytest.approx(compare(second, first).overall.groups, rel=1e-7)


def test_one_image_is_refused():
    with pytest.raises(ValueError, match="two held-out images"):
        compare(torch.zeros(1, 5), torch.zeros(1, 5))


@pytest.mark.parametrize(("strata", "steps"), [(20, 1000), (7, 1000), (4, 10), (12, 10)])
def test_every_stratum_gets_a_timestep(strata: int, steps: int):
    t, _ = validation_draws(0, range(200), strata, DDPM(cosine_betas(steps)), SHAPE)
    edges = torch.arange(strata + 1, dtype=torch.float64) * steps / strata
    assert t.shape == (200, strata)
    assert (t >= edges[:-1].floor()).all()
    assert (t < edges[1:].ceil()).all()


def test_every_timestep_is_as_likely_as_another():
    """Also where the strata do not divide the steps: each of 10 timesteps has a tenth of 4 x 4,000 draws."""
    t, _ = validation_draws(0, range(4000), 4, DDPM(cosine_betas(10)), (1, 1, 1))
    assert scipy.stats.chisquare(t.flatten().bincount(minlength=10)).pvalue > 1e-4


def test_draws_depend_on_seed_and_index_alone():
    t, noise = validation_draws(3, range(12), 4, PROCESS, SHAPE)
    for indices in ([5], [11, 2, 7], range(1, 12, 2)):
        some_t, some_noise = validation_draws(3, indices, 4, PROCESS, SHAPE)
        assert torch.equal(some_t, t[list(indices)])
        assert torch.equal(some_noise, noise[list(indices)])
    other_t, other_noise = validation_draws(4, range(12), 4, PROCESS, SHAPE)
    assert not torch.equal(other_t, t)
    assert not torch.isclose(other_noise, noise).any()


def test_noise_is_standard_normal_and_differs_everywhere():
    _, noise = validation_draws(0, range(50), 20, PROCESS, SHAPE)
    assert noise.unique().numel() > 0.99 * noise.numel()
    assert scipy.stats.kstest(noise.flatten(), "norm").pvalue > 1e-3


class Toy(torch.nn.Module):
    """A model whose output depends on all its inputs, through a matrix product that autocast would round."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.mix(x) + (0.01 * t + 0.1 * condition.label)[:, None, None, None]


@pytest.fixture
def measured() -> tuple[DDPM, Tensor, Condition, Tensor, Tensor]:
    t, noise = validation_draws(0, range(6), 3, PROCESS, SHAPE)
    x0 = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    return PROCESS, x0, Condition(torch.arange(6)), t, noise


def test_losses_are_the_objectives_image_by_image(measured):
    diffusion, x0, y, t, noise = measured
    model = Toy()
    table = per_sample_losses(model, *measured)
    assert not table.requires_grad
    for n in range(6):
        for s in range(3):
            one, step, epsilon = x0[n : n + 1], t[n, s : s + 1], noise[n, s : s + 1]
            x_t = diffusion.add_noise(one, epsilon, step)
            losses = diffusion.losses(model(x_t, step, y.take([n])), one, x_t, epsilon, step)
            assert table[n, s].item() == pytest.approx(losses.total.item(), rel=1e-5)


def test_losses_are_float32_under_autocast(measured):
    plain = per_sample_losses(Toy(), *measured)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(per_sample_losses(Toy(), *measured), plain)
