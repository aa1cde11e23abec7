"""Classes by the first folder that each image lies in. What the folders leave open is asked for."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dmp_lightning.user_error import UserError

SYNSET = r"n\d{8}"
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


class Classes(NamedTuple):
    """`labels` (N,) of the images, the `names` of the classes if they have some, and a `sentence` on them."""

    labels: Int[np.ndarray, " N"]
    names: tuple[str, ...] | None
    sentence: str


class Tree(NamedTuple):
    """Images by their `paths` below the folder `common` that holds all of them.

    `first` is the first folder of each image, "" for none. `empty` are folders without images, there or beside it.
    """

    common: str
    paths: list[str]
    first: list[str]
    empty: list[str]


def tree(paths: Iterable[str], folders: Collection[str]) -> Tree:
    """Take off folders that hold nothing but one folder with all images. `folders` are all that there are."""
    paths = [os.path.normpath(path.lstrip("/")) for path in paths]
    holding = {path.rpartition("/")[0] for path in paths}
    common = os.path.commonpath(holding)
    if common in holding:  # the folder of a class, or the source itself
        common = os.path.dirname(common)
    inside = [path[len(common) + 1 :] if common else path for path in paths]
    known = {str(PurePosixPath(folder)) for folder in folders}.difference(*map(_upwards, holding))
    beside = _upwards(common)
    empty = sorted(folder for folder in known if (os.path.dirname(folder) or ".") in beside)
    return Tree(common, inside, [path.partition("/")[0] if "/" in path else "" for path in inside], empty)


def by_folders(found: Tree, source: str) -> Classes:
    """Each first folder is a class: in the order of the names, or, if these are 0, 1, ..., of the numbers.

    Raises:
        UserError: the folders leave open which class an image has, or which number a class.
    """
    loose = next((path for path, first in zip(found.paths, found.first, strict=True) if not first), None)
    if loose is not None:
        raise UserError(f"{loose} is in no class folder of {source}: move it into one, or set labels=none.")
    empty = [folder for folder in found.empty if not are_synsets(found) or _is_synset(os.path.basename(folder))]
    if empty:
        raise UserError(
            f"The folder {empty[0]} in {source} holds no images, so the numbers of the classes are unclear: add images "
            "to it, or remove it."
        )
    _check_depths(found, source)
    counts = Counter(found.first)
    names = _in_order(list(counts), source)
    numbers = {name: number for number, name in enumerate(names)}
    shown = " to ".join(
        f"{name} ({count_images(counts[name])}) as {numbers[name]}" for name in dict.fromkeys((names[0], names[-1]))
    )
    deeper = ", with all in the folders below each" if found.paths[0].count("/") > 1 else ""
    return Classes(
        np.array([numbers[name] for name in found.first], np.int64),
        None if _are_numbers(names) else tuple(names),
        f"by the first folder below {join(source, found.common)}{deeper}: {shown}",
    )


def check_splits(found: Tree, source: str) -> None:
    """Make sure that the folders are no parts of a data set, which are used separately.

    Raises:
        UserError: they are.
    """
    parts = splits(found)
    if parts:
        raise UserError(
            f"{source} holds {' and '.join(parts)}, named like splits, not classes: choose one with "
            f"source={join(source, found.common, parts[0])}, or use all with labels=none."
        )


def splits(found: Tree) -> list[str]:
    """The first folders that are parts of a data set: train, val and test."""
    firsts = set(found.first) - {""}
    parts = sorted(first for first in firsts if first.casefold() in SPLITS)
    nested = any(first in parts and path.count("/") > 1 for path, first in zip(found.paths, found.first, strict=True))
    return parts if parts and (nested or len(parts) > 1 or len(parts) == len(firsts)) else []


def are_synsets(found: Tree) -> bool:
    """Whether all images lie in folders of ImageNet's classes."""
    return all(map(_is_synset, set(found.first)))


def join(*parts: str) -> str:
    """A path of the parts that are not empty."""
    return "/".join(part for part in parts if part)


def count_images(count: int) -> str:
    return f"{count:,} image{'s' if count != 1 else ''}"


def _upwards(folder: str) -> set[str]:
    """A folder and all above it, the source being "."."""
    return {str(above) for above in (PurePosixPath(folder), *PurePosixPath(folder).parents)}


def _is_synset(name: str) -> bool:
    return re.fullmatch(SYNSET, name) is not None


def _are_numbers(names: Iterable[str]) -> bool:
    return all(name.isascii() and name.isdigit() for name in names)


def _check_depths(found: Tree, source: str) -> None:
    by_depth = {path.count("/"): path for path in found.paths}
    leaves = sorted({os.path.dirname(path) for path in found.paths if path.count("/") > 1})
    several = any(count > 1 for count in Counter(leaf.partition("/")[0] for leaf in leaves).values())
    by_name = defaultdict(list)
    for leaf in leaves:
        by_name[os.path.basename(leaf)].append(leaf)
    alike = next((places for places in by_name.values() if len(places) > 1), None)
    if len(by_depth) > 1:
        both = f"images at different depths ({by_depth[min(by_depth)]} and {by_depth[max(by_depth)]})"
    elif several and alike:
        both = f"{alike[0]} and {alike[1]}"
    else:
        return
    raise UserError(
        f"{source} holds {both}, so the class folders are unclear: move the images of each class into one folder."
    )


def _in_order(names: list[str], source: str) -> list[str]:
    """The names of classes by their numbers."""
    order = sorted(names, key=lambda name: (unicodedata.normalize("NFC", name), name))
    if _are_numbers(names):
        order = sorted(names, key=int)
        if [int(name) for name in order] != list(range(len(order))):
            raise UserError(
                f"The {len(order)} folders in {source} are numbers, {order[0]} to {order[-1]}, but not exactly 0 to "
                f"{len(order) - 1}, so their labels are unclear: rename them to these numbers, or to words."
            )
    alike = sorted((unicodedata.normalize("NFC", name).casefold(), name) for name in names)
    for (key, name), (other_key, other) in pairwise(alike):
        if key == other_key:
            raise UserError(
                f"The folder names {name} and {other} in {source} differ only in case or Unicode form: rename one."
            )
    return order
