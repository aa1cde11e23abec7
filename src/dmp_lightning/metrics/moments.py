"""Means and covariances of features, and the Fréchet distance between them."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Moments(NamedTuple):
    """Mean (F,) and covariance (F, F) of features, float64."""

    mean: Float[Tensor, " F"]
    covariance: Float[Tensor, "F F"]


def moments(features: Float[Tensor, "N F"]) -> Moments:
    """Mean and unbiased covariance of the rows."""
    return Moments(features.double().mean(0), features.double().T.cov())


class Reference:
    """Moments that others are compared with; the square root of their covariance is computed once.

    The distance is `|m - m_r|^2 + tr(S + S_r - 2 (S_r^(1/2) S S_r^(1/2))^(1/2))` (Dowson and Landau 1982), which equals
    the usual form with (S S_r)^(1/2) but has symmetric matrices only: at 2,048 features it takes seconds where the
    eigenvalues of the general matrix S S_r take a minute.
    """

    def __init__(self, moments: Moments) -> None:
        self.moments = moments
        values, vectors = torch.linalg.eigh(moments.covariance)
        self._root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T

    def distance(self, other: Moments) -> float:
        """The Fréchet distance to `other`, clamped at zero: rounding may give less."""
        values = torch.linalg.eigvalsh(self._root @ other.covariance @ self._root)
        traces = other.covariance.trace() + self.moments.covariance.trace() - 2 * values.clamp(min=0).sqrt().sum()
        return ((other.mean - self.moments.mean).square().sum() + traces).clamp(min=0).item()


class Counts(NamedTuple):
    """Generated `samples`, `reference_images` (None if only their statistics are known), and `features` F.

    The covariance of n images has rank n - 1 at most. With F images or fewer it is singular: the distance then depends
    more on their number than on the models, and no jackknife of it can be trusted.
    """

    samples: int
    reference_images: int | None
    features: int

    @property
    def too_few(self) -> bool:
        """Whether either side has no more images than there are features."""
        return min(self.samples, self.reference_images or self.samples) <= self.features

    @property
    def warning(self) -> str:
        """The warning about too few images, and the remedy."""
        reference = "" if self.reference_images is None else f" and {self.reference_images:,} reference images"
        return (
            f"{self.samples:,} samples{reference} for {self.features:,} features: the covariance is singular, so the "
            "Fréchet distance is marked †, and nothing can be concluded from it. Use more images than features."
        )
