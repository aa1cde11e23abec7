"""The IDX format of MNIST and its kin (http://yann.lecun.com/exdb/mnist): a magic number, the sizes, the values."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

UNSIGNED_BYTES = 0x08

MAX_BYTES = 2**31
"""Of one file, unpacked: EMNIST, the largest of its kin, has 0.64 x 10^9."""


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in `path`, or, where there is no such file, in the same compressed: `path`.gz.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: the file is damaged, holds values of another type, or too many of them.
    """
    compressed = path.with_name(f"{path.name}.gz")
    found = next((file for file in (path, compressed) if file.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"There is no {path}, nor {compressed.name} beside it: set the folder to where it is.")
    try:
        with gzip.open(found) if found == compressed else found.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{found} is damaged ({error}): restore it.") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"{found} has more than {MAX_BYTES:,} bytes, unpacked: no IDX file of images is so large.")
    start = 4 * (1 + content[3]) if len(content) > 3 else 4
    if content[:3] != bytes([0, 0, UNSIGNED_BYTES]) or len(content) < start:
        raise ValueError(f"{found} is no IDX file of unsigned bytes: restore it.")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if len(content) != start + prod(shape):
        raise ValueError(f"{found} holds {len(content)} bytes, not those of an array {shape}: restore it.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
