"""The change of the Fréchet distance, with a jackknife over groups of samples made from the same noise."""

import torch
from jaxtyping import Float
from torch import Tensor

from dmp_lightning.intervals import GROUPS, Change, jackknife_of
from dmp_lightning.metrics.moments import Reference, moments


def frechet_change(reference: Reference, before: Float[Tensor, "N F"], after: Float[Tensor, "N F"]) -> Change:
    """Difference of the two sets' distances to the reference; sample n of both is from the same noise.

    Sample n is in group n mod 20 (or N / 2, if that is less), and each group in turn is left out on both sides. The
    interval speaks of the samples' noise alone, not of another training seed. It is centred on the plain difference of
    all samples.
    """
    groups = min(GROUPS, len(before) // 2)
    changes = [_difference(reference, before, after)]
    for left_out in range(groups):
        kept = torch.arange(len(before)) % groups != left_out
        changes.append(_difference(reference, before[kept], after[kept]))
    overall, leave_one_out = changes[0], torch.tensor(changes[1:], dtype=torch.float64)
    variance = (groups - 1) / groups * (leave_one_out - leave_one_out.mean()).square().sum()
    return Change(jackknife_of(overall, variance.sqrt().item(), groups), changes[1:])


def _difference(reference: Reference, before: Float[Tensor, "N F"], after: Float[Tensor, "N F"]) -> float:
    return reference.distance(moments(after)) - reference.distance(moments(before))
