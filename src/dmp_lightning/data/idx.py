"""The IDX format of MNIST and its kin (http://yann.lecun.com/exdb/mnist): a magic number, the sizes, the values."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

UNSIGNED_BYTES = 0x08


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in `path`, or, where there is no such file, in the same compressed: `path`.gz.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: the file is damaged, or holds values of another type.
    """
    compressed = path.with_name(f"{path.name}.gz")
    found = next((file for file in (path, compressed) if file.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"There is no {path}, nor {compressed.name} beside it: set the folder to where it is.")
    try:
        content = gzip.decompress(found.read_bytes()) if found == compressed else found.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{found} is damaged ({error}): restore it.") from error
    start = 4 * (1 + content[3]) if len(content) > 3 else 4
    if content[:3] != bytes([0, 0, UNSIGNED_BYTES]) or len(content) < start:
        raise ValueError(f"{found} is no IDX file of unsigned bytes: restore it.")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if len(content) != start + prod(shape):
        raise ValueError(f"{found} holds {len(content)} bytes, not those of an array {shape}: restore it.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
