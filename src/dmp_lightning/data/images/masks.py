"""Masks that lie beside images, and are told by their names."""

import re
from collections.abc import Collection

BESIDE = re.compile(r"(.+)[._-](mask|masks|seg|segm|segmentation|matte|trimap|depth|label|labels|gt|annotation)", re.I)


def masks_among(names: Collection[str]) -> set[str]:
    """Those of the files that are called as another is, and a mask of it: a_mask.png or a.seg.png, beside a.jpg."""
    stems = {name.rpartition(".")[0] for name in names}
    return {name for name in names if (match := BESIDE.fullmatch(name.rpartition(".")[0])) and match[1] in stems}


def twins_among(names: Collection[str]) -> list[str]:
    """Two files that share their name but for the suffix, where there are some: one may be the mask of the other."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.rpartition(".")[0], name)
        if other != name:
            return [other, name]
    return []
