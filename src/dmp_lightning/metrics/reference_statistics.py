"""Checks of statistics that others made of a reference, before a distance is taken to them."""

import logging
from pathlib import Path

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


def checked(mean: np.ndarray, covariance: np.ndarray, names: tuple[str, str], path: Path) -> Moments:
    """Moments of a mean (F,) and a covariance (F, F), which have these `names` in the file at `path`.

    Raises:
        UserError: they are not in single or double precision, or are not the mean and the covariance of any features.
    """
    at_mean, at_covariance = (f"{path}: {name}" for name in names)
    for at, given in ((at_mean, mean), (at_covariance, covariance)):
        if given.dtype.kind != "f" or given.dtype.itemsize < 4:
            raise UserError(f"{at} is of type {given.dtype}, not of floating-point numbers: {AGAIN}.")
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape or not len(mean):
        shapes = f"{mean.shape} and {names[1]} {covariance.shape}"
        raise UserError(f"{at_mean} has shape {shapes}, not (F,) and (F, F): {AGAIN}.")
    m, c = (torch.from_numpy(value.astype(np.float64)) for value in (mean, covariance))
    for at, value, size in ((at_mean, m, m.abs().max()), (at_covariance, c, c.diagonal().abs().max())):
        if not value.isfinite().all():
            raise UserError(f"{at} contains NaN or infinity: {AGAIN}.")
        if size > LARGEST:
            raise UserError(f"{at} contains {size:.3g}, too large for any features: {AGAIN}.")
    _check_covariance(c, at_covariance)
    return Moments(m, c)


def _check_covariance(c: torch.Tensor, at: str) -> None:
    largest = c.abs().max()
    if largest == 0:
        raise UserError(f"{at} is zero, so it seems to come from one image: use at least {FEWEST}.")
    uneven = (c - c.T).abs().max() / largest
    if uneven > UNEVEN:
        raise UserError(f"{at} is not symmetric (entries differ by {uneven:.3g} of the largest): {AGAIN}.")
    values = torch.linalg.eigvalsh((c + c.T) / 2)
    if values[0] < -UNEVEN * values.abs().max():
        raise UserError(f"{at} has the negative eigenvalue {values[0]:.3g}, so it is not a covariance: {AGAIN}.")
    rank = int((values > UNEVEN * values[-1]).sum())
    if rank < min(FEWEST - 1, len(c)):
        raise UserError(f"{at} has rank {rank}, so it seems to come from {rank + 1} images: use at least {FEWEST}.")
    if rank < len(c):
        log.warning(
            "%s has rank %s of %s: it may come from fewer images than features, which makes distances to it too large.",
            at, rank, len(c),
        )  # fmt: skip
