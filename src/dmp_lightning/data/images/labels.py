"""The class of each image."""

from pathlib import Path

import numpy as np

from dmp_lightning.data.images.class_folders import (
    Classes,
    are_synsets,
    by_folders,
    check_splits,
    count_images,
    splits,
    tree,
)
from dmp_lightning.data.images.masks import check_masks
from dmp_lightning.data.images.source import Images
from dmp_lightning.user_error import UserError


def choose_labels(images: Images, labels: str, source: Path) -> Classes:
    """The class of each image, as `labels` says; see `encode`.

    Raises:
        UserError: the source leaves it open; the sentence says how to choose.
    """
    given = images.given
    if labels == "auto" and given is not None:
        if given.problem is not None:
            raise UserError(f"{given.problem}; or set labels=none.")
        if given.labels is not None:
            return Classes(given.labels, None, f"by the labels {given.origin}: {_ends(given.labels)}")
    found = tree(images.paths, images.folders)
    check_masks(found, str(source))
    places = sorted(set(found.first))
    several = len(places) > 1
    if labels == "none" or (labels == "auto" and given is not None):
        parts = splits(found) if several else []
        together = f"; {' and '.join(parts)} are taken together" if parts else ""
        return Classes(np.zeros(len(images), np.int64), None, f"without labels{together}")
    if labels == "folders" or several:
        check_splits(found, str(source))
    if labels == "folders" or are_synsets(found):
        return by_folders(found, str(source))
    if several:
        raise UserError(
            f"{source} holds images in {len(places):,} folders, {places[0] or 'its own'} to {places[-1]}: set "
            "labels=folders if each of them is a class, or labels=none if they are not."
        )
    return Classes(np.zeros(len(images), np.int64), None, "without labels")


def _ends(labels: np.ndarray) -> str:
    """The first and the last label, with their counts."""
    numbers, counts = np.unique(labels, return_counts=True)
    ends = sorted({0, len(numbers) - 1})
    return " to ".join(f"{numbers[end]} ({count_images(int(counts[end]))})" for end in ends)
