"""How sure a change of the Fréchet distance is: a jackknife over groups of samples made from the same noise."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from scipy.stats import t as student_t
from torch import Tensor

from dmp_lightning.metrics.moments import Reference, moments

GROUPS = 20


class Change(NamedTuple):
    """Fréchet distance after minus before (below zero is better), and the ends of its 95% interval.

    `groups` holds the change without each group of samples in turn; None where an older checkpoint has not kept it. Of
    two patches of one base, group by group, the difference is that of their distances: the base cancels.
    """

    mean: float
    low: float
    high: float
    groups: list[float] | None = None


def frechet_change(
    reference: Reference, before: Float[Tensor, "N F"], after: Float[Tensor, "N F"], confidence: float = 0.95
) -> Change:
    """Difference of the two sets' distances to the reference; sample n of both is from the same noise.

    The interval is the delete-a-group jackknife's (Efron and Tibshirani 1993, chapter 11): sample n is in group
    n mod 20 (or N, if that is less), and each group in turn is left out on both sides. It speaks of the samples' noise
    alone, not of another training seed. It is centred on the plain difference of all samples.
    """
    groups = min(GROUPS, len(before) // 2)
    changes = [_difference(reference, before, after)]
    for left_out in range(groups):
        kept = torch.arange(len(before)) % groups != left_out
        changes.append(_difference(reference, before[kept], after[kept]))
    overall, leave_one_out = changes[0], torch.tensor(changes[1:], dtype=torch.float64)
    variance = (groups - 1) / groups * (leave_one_out - leave_one_out.mean()).square().sum()
    margin = float(student_t.ppf((1 + confidence) / 2, groups - 1)) * variance.sqrt().item()
    return Change(overall, overall - margin, overall + margin, changes[1:])


def _difference(reference: Reference, before: Float[Tensor, "N F"], after: Float[Tensor, "N F"]) -> float:
    return reference.distance(moments(after)) - reference.distance(moments(before))
