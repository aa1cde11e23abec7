"""Headers of numpy's `.npy` format, read without the numbers."""

from typing import IO, Any, NamedTuple

import numpy as np


class Header(NamedTuple):
    """Shape and type of the numbers; with `by_columns` they lie column by column, as in Fortran."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype


def read_header(file: IO[Any]) -> Header:
    """Read the header; the file then stands at the first number.

    Raises:
        UserError: it is no `.npy` file. EOFError: it ends too early.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return Header(*read(file))
