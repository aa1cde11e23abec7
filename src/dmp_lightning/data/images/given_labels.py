"""Labels that a source gives itself: beside the images, as WebDataset has it, or in StyleGAN's dataset.json."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dmp_lightning.user_error import UserError

LABELS = ("cls", "class", "label", "cls.txt", "class.txt", "label.txt")
"""Suffixes of a file with an image's label."""

NUMBERS = ("index", "idx", "index.txt", "idx.txt")
"""Suffixes of a file with a number: it is the label where nothing else is, unless it counts the images."""

KEYS = ("label", "cls", "class_id", "class_index", "class_idx", "target", "class")
"""Keys of the label in an image's .json."""

DATASET = "dataset.json"

MAX_LABEL = 2**31 - 1


class Given(NamedTuple):
    """`labels` (N,), or None where the source says that there are none; where from; what is wrong with them."""

    labels: Int[np.ndarray, " N"] | None
    origin: str
    problem: str | None = None


def label_of(files: Mapping[str, bytes]) -> tuple[int | None, str]:
    """The label in the files beside an image, by their suffixes, and the suffix of the one that gives it.

    Raises:
        UserError: one is no label, or they contradict each other; the sentence begins with its suffix.
    """
    found = [(_number(files[suffix], suffix), suffix) for suffix in LABELS if suffix in files]
    if "json" in files:
        label = _in_json(files["json"])
        found += [] if label is None else [(label, "json")]
    if not found:
        found = [(_number(files[suffix], suffix), suffix) for suffix in NUMBERS if suffix in files]
    if len({label for label, _ in found}) > 1:
        (first, one), (second, other) = found[0], next(pair for pair in found if pair[0] != found[0][0])
        raise UserError(f".{one} says {first}, and .{other} {second}")
    return found[0] if found else (None, "")


def beside_images(
    names: Sequence[str], labels: Sequence[int | None], origins: set[str], problem: str | None
) -> Given | None:
    """What the labels found beside images give; `names` are the images', `problem` the first that is wrong."""
    if not origins and problem is None:
        return None
    origin = f"in {' and '.join(f'.{suffix}' for suffix in sorted(origins))} files"
    if problem is not None:
        return Given(None, origin, problem)
    missing = next((name for name, label in zip(names, labels, strict=True) if label is None), None)
    if missing is not None:
        return Given(None, origin, f"{missing} has no label, though others have: add it as a .cls file")
    numbers = np.array(labels, np.int64)
    if origins <= set(NUMBERS) and len(numbers) >= 10 and (np.diff(numbers) == 1).all():
        return Given(None, origin, f"The numbers {origin} count the images and are no labels: add .cls files")
    return Given(numbers, origin)


def read_dataset_json(content: bytes, names: Sequence[str]) -> Given | None:
    """Labels as StyleGAN's and EDM's tools write them: `{"labels": [["00000/img.png", 3], ...]}`, or null for none.

    Nothing is given by another file of that name.
    """
    try:
        listed = json.loads(content)["labels"]
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        return None
    origin = "in dataset.json"
    if listed is None:
        return Given(None, origin)
    remedy = 'write it as StyleGAN\'s dataset_tool does, {"labels": [["00000/img.png", 3], ...]}'
    if not isinstance(listed, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in listed):
        return Given(None, origin, f"The labels in dataset.json are no list of pairs: {remedy}")
    known = {str(name).replace("\\", "/"): label for name, label in listed}
    for name in names:
        if name not in known:
            return Given(None, origin, f"{name} has no label in dataset.json: add it there")
        if not _is_label(known[name]):
            return Given(
                None,
                origin,
                f"The label of {name} in dataset.json is {str(known[name])[:40]}, no number from 0: {remedy}",
            )
    return Given(np.array([known[name] for name in names], np.int64), origin)


def _in_json(content: bytes) -> int | None:
    """The label in an image's .json; None where it holds none, as captions do."""
    try:
        about = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f".json is damaged ({error})") from error
    values = [about[key] for key in KEYS if about.get(key) is not None] if isinstance(about, dict) else []
    label = next((value for value in values if _is_label(value)), None)
    if label is None and values:
        raise UserError(f".json holds {str(values[0])[:40]!r}, no number from 0")
    return label


def _number(content: bytes, suffix: str) -> int:
    text = content.strip()
    if not text.isdigit() or len(text) > 10 or int(text) > MAX_LABEL:
        raise UserError(f".{suffix} holds {text[:40].decode(errors='replace')!r}, no number from 0")
    return int(text)


def _is_label(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LABEL
