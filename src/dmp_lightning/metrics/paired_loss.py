"""The paired validation loss: base and patched model on the same images, noises and timesteps."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.process import Process
from dmp_lightning.draws import Stream, generators
from dmp_lightning.intervals import GROUPS, Change, Interval, student
from dmp_lightning.user_error import UserError

Model = Callable[[Tensor, Tensor, Condition], Tensor]
LossTable = Float[Tensor, "N S"]


class Comparison(NamedTuple):
    """Loss of the patched model minus loss of the base, so that below zero is better.

    `overall` is over all strata, in groups of images; `by_stratum` holds the S intervals of each stratum by itself,
    noisiest timesteps last.
    """

    overall: Change
    by_stratum: list[Interval]


def validation_draws(
    seed: int, indices: Sequence[int], strata: int, process: Process, shape: Sequence[int]
) -> tuple[Num[Tensor, "N S"], Float[Tensor, "N S C H W"]]:
    """Times and noises at which to measure the images `indices`, of `shape` (C, H, W): one time from each stratum.

    They depend on nothing else.
    """
    sources = generators(seed, Stream.VALIDATION, indices)
    offsets = torch.stack([torch.rand(strata, generator=source, dtype=torch.float64) for source in sources])
    noise = torch.stack([torch.randn(strata, *shape, generator=source) for source in sources])
    return process.in_strata(offsets), noise


@torch.no_grad()
def per_sample_losses(
    model: Model,
    process: Process,
    x0: Float[Tensor, "N C H W"],
    condition: Condition,
    t: Num[Tensor, "N S"],
    noise: Float[Tensor, "N S C H W"],
) -> LossTable:
    """Training loss of `model(x_t, t, condition)` for each image at each of its timesteps, in float32, autocast or not.

    One stratum is one batch of N. The caller puts the model into eval mode; `x0` and `condition` are on its device,
    the draws may be anywhere.
    """
    losses = []
    with torch.autocast(x0.device.type, enabled=False):
        for t_s, noise_s in zip(t.to(x0.device).unbind(1), noise.unbind(1), strict=True):
            noise_s = noise_s.to(x0.device)
            x_t = process.add_noise(x0, noise_s, t_s)
            losses.append(process.losses(model(x_t, t_s, condition), x0, x_t, noise_s, t_s).total)
    return torch.stack(losses, dim=1)


def compare(base: LossTable, patched: LossTable) -> Comparison:
    """Mean differences with their intervals, over N images at S timesteps each.

    Losses of one image share its content: its mean over the strata is one observation, and N counts, not N * S.

    Raises:
        UserError: there are fewer than two images.
    """
    if len(base) < 2:
        raise UserError("A paired comparison needs at least two held-out images: use more data.")
    difference = patched.double() - base.double()
    by_image, n = difference.mean(1), len(base)
    overall = student(by_image.mean().item(), by_image.std().item(), n)
    strata = zip(difference.mean(0).tolist(), difference.std(0).tolist(), strict=True)
    return Comparison(
        Change(overall, _leave_one_out(by_image)), [student(mean, deviation, n) for mean, deviation in strata]
    )


def _leave_one_out(values: Float[Tensor, " N"]) -> list[float]:
    """The mean without each group in turn: image n is in group n mod 20 (or N, if that is less)."""
    groups = min(GROUPS, len(values))
    group = torch.arange(len(values)) % groups
    return [values[group != left_out].mean().item() for left_out in range(groups)]
