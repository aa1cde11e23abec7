"""A checksum at the end of a zip archive, as checkpoints are."""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from dmp_lightning.files import DIGITS, DamagedError

TAIL = b"checksum:"
"""Before the checksum at the end of an archive, in what the format calls its comment."""

ZIP_END = b"PK\x05\x06"


def seal_zip(path: Path) -> None:
    """Put a checksum at the end of a zip archive, such as a checkpoint of torch, which stays one.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("rb+") as file:
        file.seek(-2, os.SEEK_END)  # the length of the comment is the last that an archive without one has
        file.write((len(TAIL) + DIGITS).to_bytes(2, "little"))
        checksum = _sha256(file, file.tell())
        file.write(TAIL + checksum.encode())


def check_zip(path: Path) -> None:
    """Compare a zip archive with its checksum; one of earlier versions has none.

    Raises:
        DamagedError: it is not what was written, or was cut off.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - len(TAIL) - DIGITS)
        file.seek(start)
        tail = file.read()
        if tail.startswith(TAIL) and _sha256(file, start).encode() == tail[len(TAIL) :]:
            return
        if tail.startswith(TAIL) or tail[-22:-18] != ZIP_END or tail[-2:] != bytes(2):
            raise DamagedError(f"{path} is damaged (its checksum does not match)")


def _sha256(file: BinaryIO, size: int) -> str:
    """Of the first `size` bytes."""
    file.seek(0)
    digest = hashlib.sha256()
    while file.tell() < size:
        digest.update(file.read(min(2**20, size - file.tell())))
    return digest.hexdigest()
