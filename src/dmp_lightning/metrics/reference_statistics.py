"""Statistics that others have made of a reference, before a distance is taken to them."""

import logging
from collections.abc import Mapping

import numpy as np
import torch

from dmp_lightning.metrics.moments import Moments
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

AGAIN = "make the statistics again, or set reference to the images"
UNEVEN = 1e-5
"""How far, relative to the largest, entries may differ from their mirrors, and eigenvalues be below zero: rounding of
single precision is a hundredth of it."""
LARGEST = 1e8  # of a mean's or a variance's size: no extractor's features are near it
FEWEST = 4  # images that a covariance may be made of


def check_arrays(shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, np.dtype], mean: str, cov: str) -> None:
    """Make sure that mean and covariance are (F,) and (F, F) in single or double precision, by their headers.

    Raises:
        UserError: they are not.
    """
    for name in (mean, cov):
        if dtypes[name].kind != "f" or dtypes[name].itemsize < 4:
            raise UserError(f"{name} is of type {dtypes[name]}, not of floating-point numbers: {AGAIN}.")
    if len(shapes[mean]) != 1 or shapes[cov] != 2 * shapes[mean] or 0 in shapes[mean]:
        raise UserError(f"{mean} has shape {shapes[mean]} and {cov} {shapes[cov]}, not (F,) and (F, F): {AGAIN}.")


def checked(mean: np.ndarray, covariance: np.ndarray, names: tuple[str, str]) -> Moments:
    """Moments that are the mean and the covariance of some features.

    Args:
        mean, covariance: (F,) and (F, F). names: of the two, for a sentence.

    Raises:
        UserError: they are not; the sentence says why.
    """
    m, c = (torch.from_numpy(value.astype(np.float64)) for value in (mean, covariance))
    for name, value, size in ((names[0], m, m), (names[1], c, c.diagonal())):
        if not value.isfinite().all():
            raise UserError(f"{name} holds numbers that are not finite: {AGAIN}.")
        if size.abs().max() > LARGEST:
            raise UserError(f"{name} holds {size.abs().max():.3g}, more than any features give: {AGAIN}.")
    name, largest = names[1], c.abs().max()
    if largest == 0:
        raise UserError(f"{name} is zero, as if it were made of one image: make it of {FEWEST} or more.")
    uneven = (c - c.T).abs().max() / largest
    if uneven > UNEVEN:
        raise UserError(f"{name} is not symmetric (entries differ by {uneven:.3g} of the largest): {AGAIN}.")
    values = torch.linalg.eigvalsh((c + c.T) / 2)
    if values[0] < -UNEVEN * values.abs().max():
        raise UserError(f"{name} has the eigenvalue {values[0]:.3g}: a covariance has none below zero, {AGAIN}.")
    rank = int((values > UNEVEN * values[-1]).sum())
    if rank < min(FEWEST - 1, len(m)):
        raise UserError(f"{name} has rank {rank}, as if it were made of {rank + 1} images: make it of more.")
    if rank < len(m):
        log.warning(
            "%s has rank %s of %s: it may be made of fewer images than there are features, and distances to it are "
            "then too large.", name, rank, len(m),
        )  # fmt: skip
    return Moments(m, c)
