"""Labels that a source has itself: in files beside the images, as in WebDataset, or in StyleGAN's dataset.json."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dmp_lightning.user_error import UserError

LABELS = ("cls", "class", "label", "cls.txt", "class.txt", "label.txt")
"""Suffixes of a file with an image's label."""

NUMBERS = ("index", "idx", "index.txt", "idx.txt")
"""Suffixes of a file with a number. It is the label if there is no other, unless the numbers count the images."""

KEYS = ("label", "cls", "class_id", "class_index", "class_idx", "target", "class")
"""Keys of the label in an image's .json."""

DATASET = "dataset.json"

MAX_LABEL = 2**31 - 1


class Given(NamedTuple):
    """`labels` (N,), or None if the source says that there are none; where they are from; and what is wrong."""

    labels: Int[np.ndarray, " N"] | None
    origin: str
    problem: str | None = None


class Label(NamedTuple):
    """The label of one image, the suffix of the file that it is from, and what is wrong with the files."""

    number: int | None = None
    suffix: str = ""
    problem: str | None = None


def label_of(files: Mapping[str, bytes], image: str) -> Label:
    """The label in the files beside an image, by their suffixes. `image` is the name that they share."""
    try:
        found = [Label(_number(files[suffix], suffix), suffix) for suffix in LABELS if suffix in files]
        if "json" in files and (label := _in_json(files["json"])) is not None:
            found.append(Label(label, "json"))
        if not found:
            found = [Label(_number(files[suffix], suffix), suffix) for suffix in NUMBERS if suffix in files]
    except UserError as error:
        return Label(problem=f"{image}{error}")
    for one, other in pairwise(found):
        if one.number != other.number:
            return Label(problem=f"{image}.{one.suffix} says {one.number}, but .{other.suffix} says {other.number}")
    return found[0] if found else Label()


def beside_images(names: Sequence[str], labels: Sequence[Label]) -> Given | None:
    """All labels beside images together, or None without any; `names` are the images'."""
    suffixes = sorted({label.suffix for label in labels} - {""})
    problem = next((label.problem for label in labels if label.problem), None)
    if not suffixes and problem is None:
        return None
    origin = f"in {' and '.join(f'.{suffix}' for suffix in suffixes)} files"
    missing = next((name for name, label in zip(names, labels, strict=True) if label.number is None), None)
    if missing is not None:
        return Given(None, origin, problem or f"{missing} has no label, but others have: add it as a .cls file")
    numbers = np.array([label.number for label in labels], np.int64)
    if set(suffixes) <= set(NUMBERS) and len(numbers) >= 10 and (np.diff(numbers) == 1).all():
        return Given(
            None, origin, f"The numbers {origin} only count the images, so they are not labels: add .cls files"
        )
    return Given(numbers, origin)


def read_dataset_json(content: bytes, names: Sequence[str]) -> Given | None:
    """Labels as StyleGAN's and EDM's tools write them: `{"labels": [["00000/img.png", 3], ...]}`, or null for none.

    None if the file is another one of that name.
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
        return Given(None, origin, f"The labels in dataset.json are not a list of pairs: {remedy}")
    known = {str(name).replace("\\", "/"): label for name, label in listed}
    wrong = next((name for name in names if not _is_label(known.get(name))), None)
    if wrong is None:
        return Given(np.array([known[name] for name in names], np.int64), origin)
    if wrong not in known:
        return Given(None, origin, f"{wrong} has no label in dataset.json: add it there")
    shown = str(known[wrong])[:40]
    return Given(None, origin, f"The label of {wrong} in dataset.json is {shown}, not a whole number from 0: {remedy}")


def _in_json(content: bytes) -> int | None:
    """The label in an image's .json; None where it holds none, as captions do."""
    try:
        about = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f".json is damaged ({error})") from error
    values = [about[key] for key in KEYS if about.get(key) is not None] if isinstance(about, dict) else []
    label = next((value for value in values if _is_label(value)), None)
    if label is None and values:
        raise UserError(f".json holds {str(values[0])[:40]!r}, not a whole number from 0")
    return label


def _number(content: bytes, suffix: str) -> int:
    text = content.strip()
    if not text.isdigit() or len(text) > 10 or int(text) > MAX_LABEL:
        raise UserError(f".{suffix} holds {text[:40].decode(errors='replace')!r}, not a whole number from 0")
    return int(text)


def _is_label(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LABEL
