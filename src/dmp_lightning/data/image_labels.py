"""Which class each image has."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import numpy as np

from dmp_lightning.data.image_sources import Images

SYNSET = r"n\d{8}"


def choose_labels(images: Images, labels: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The label of each image, (N,), and the names of the classes where these are folders."""
    if labels == "auto" and images.labels is not None:
        return images.labels, None
    if labels == "folders" or (labels == "auto" and _in_synsets(images)):
        return folder_labels(images.names)
    return np.zeros(len(images), np.int64), None


def _in_synsets(images: Images) -> bool:
    return all(re.fullmatch(SYNSET, PurePosixPath(name).parent.name) for name in images.names)


def folder_labels(names: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels by the folder that each image lies in, counted up in the order of the folders' names, and these names.

    Raises:
        ValueError: an image lies in none.
    """
    folders = [PurePosixPath(name).parent.name for name in names]
    if "" in folders:
        raise ValueError("An image lies in no folder of a class: move it into one, or set labels=none.")
    classes, labels = np.unique(folders, return_inverse=True)
    return labels, tuple(classes.tolist())
