"""Which class each image has."""

from pathlib import Path

import numpy as np

from dmp_lightning.data.images.class_folders import (
    Classes,
    are_synsets,
    by_folders,
    check_masks,
    check_splits,
    count_images,
    splits,
    tree,
)
from dmp_lightning.data.images.source import Images
from dmp_lightning.user_error import UserError


def choose_labels(images: Images, labels: str, source: Path) -> Classes:
    """The class of each image, as `labels` says; see `encode`.

    Raises:
        UserError: it cannot be told for sure; the sentence says how to tell it.
    """
    given = images.given
    if labels == "auto" and given is not None:
        if given.problem is not None:
            raise UserError(f"{given.problem}; or set labels=none.")
        if given.labels is not None:
            return Classes(given.labels, None, _tell(given.labels, given.origin))
    found = tree(images.paths, images.folders)
    check_masks(found, str(source))
    if labels == "none" or (labels == "auto" and given is not None):
        parts = splits(found) if len(set(found.first)) > 1 else []
        return _one_class(images, f"; {' and '.join(parts)} are taken together" if parts else "")
    places = sorted(set(found.first))
    if labels == "folders" or len(places) > 1:
        check_splits(found, str(source))
    if labels == "folders" or are_synsets(found):
        return by_folders(found, str(source))
    if len(places) > 1:
        raise UserError(
            f"{source} holds images in {len(places):,} folders, {places[0] or 'its own'} to {places[-1]}: set "
            "labels=folders if each of them is a class, or labels=none if they are not."
        )
    return _one_class(images, "")


def _one_class(images: Images, told: str) -> Classes:
    return Classes(np.zeros(len(images), np.int64), None, f"without labels{told}")


def _tell(labels: np.ndarray, origin: str) -> str:
    numbers, counts = np.unique(labels, return_counts=True)
    ends = " to ".join(f"{numbers[end]} ({count_images(int(counts[end]))})" for end in sorted({0, len(numbers) - 1}))
    return f"by the labels {origin}: {ends}"
