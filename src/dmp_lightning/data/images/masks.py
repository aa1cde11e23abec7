"""Masks among images: beside them or in a folder of their own, recognised by their names."""

import os
import re
from collections import defaultdict
from collections.abc import Collection

from dmp_lightning.data.images.class_folders import Tree, join
from dmp_lightning.user_error import UserError

BESIDE = re.compile(r"(.+)[._-](mask|masks|seg|segm|segmentation|matte|trimap|depth|label|labels|gt|annotation)", re.I)
FOLDERS = frozenset(
    {"masks", "segmentation", "segmentations", "segmentationclass", "segmentationobject", "annotations", "labels", "gt"}
)


def masks_among(names: Collection[str]) -> set[str]:
    """The files that are named as masks of another: a_mask.png or a.seg.png, beside a.jpg."""
    stems = {name.rpartition(".")[0] for name in names}
    return {name for name in names if (match := BESIDE.fullmatch(name.rpartition(".")[0])) and match[1] in stems}


def twins_among(names: Collection[str]) -> list[str]:
    """Two files that differ only in their suffix, if there are any: one may be the mask of the other."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.rpartition(".")[0], name)
        if other != name:
            return [other, name]
    return []


def check_masks(found: Tree, source: str) -> None:
    """Make sure that no folder holds masks of the images in another.

    Raises:
        UserError: one does, by its name and the names in it.
    """
    stems = defaultdict(set)
    for path, first in zip(found.paths, found.first, strict=True):
        stems[first].add(os.path.splitext(path[len(first) :])[0])
    firsts = sorted(stems.keys() - {""})
    for first in (first for first in firsts if first.casefold() in FOLDERS):
        other = next((o for o in firsts if o != first and len(stems[o] & stems[first]) * 2 > len(stems[first])), None)
        if other:
            raise UserError(
                f"The files in {first} of {source} have the names of those in {other}, so they may be masks: set the "
                f"folder of the images, as in source={join(source, found.common, other)}."
            )
