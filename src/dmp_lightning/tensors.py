"""Tensors in files with a checksum that is compared when they are read, and the hash of tensors."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from safetensors import SafetensorError

from dmp_lightning.files import CHECKSUM, DIGITS, DamagedError, replacing

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLANK = "0" * DIGITS
"""Stands in the place of a checksum while it is computed."""


def save_tensors(tensors: Mapping[str, "Tensor"], path: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write tensors as safetensors, with `about` as JSON and a checksum of the whole file in the metadata.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save_file  # torch is slow to import, and reports do without it

    # Under one key: safetensors writes several in an order of chance, and equal tensors would be different files.
    metadata = {"about": json.dumps({CHECKSUM: BLANK, **(about or {})}, sort_keys=True)}
    with replacing(path) as temporary:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, temporary, metadata)
        with temporary.open("rb+") as file:
            found = _place(file)
            assert found is not None  # it is in the metadata
            checksum = _blanked_checksum(file, found[0])
            file.seek(found[0])
            file.write(checksum.encode())


def load_tensors(path: Path) -> dict[str, "Tensor"]:
    """The tensors of a file that `save_tensors` wrote.

    Raises:
        DamagedError: it is not what was written, or has no checksum.
    """
    from safetensors.torch import load_file

    try:
        if check_tensors(path):
            return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{path} is damaged ({error})") from error
    raise DamagedError(f"{path} is damaged, or of an earlier version: it has no checksum")


def check_tensors(path: Path) -> bool:
    """Compare a safetensors file with its checksum; tells whether it has one.

    Raises:
        DamagedError: it is not what was written.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        found = _place(file)
        if found is None:
            return False
        start, checksum = found
        if _blanked_checksum(file, start).encode() != checksum:
            raise DamagedError(f"{path} is damaged (its checksum does not match)")
        return True


def hash_tensors(
    tensors: Mapping[str, "Tensor"], about: str = "", typed: bool = False, dtype: "torch.dtype | None" = None
) -> str:
    """SHA-256 of tensors: their names, shapes and numbers, and `about`.

    Args:
        typed: whether their types count, too. dtype: a type that they are rounded to first.
    """
    import torch

    digest = hashlib.sha256(about.encode())
    for name, value in sorted(tensors.items()):
        value = value if dtype is None else value.to(dtype)
        digest.update(f"{name} {tuple(value.shape)}{f' {value.dtype}' if typed else ''}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _place(file: BinaryIO) -> tuple[int, bytes] | None:
    """Where the checksum stands in the header of a safetensors file, and what stands there."""
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    header = file.read(size) if size < 100_000_000 else b""  # the format allows no longer one
    found = re.search(rb'checksum\\?": ?\\?"([^"\\]{64})', header)
    return found and (8 + found.start(1), found[1])


def _blanked_checksum(file: BinaryIO, start: int) -> str:
    """SHA-256 of the file, with the 64 bytes from `start` on blank."""
    file.seek(0)
    digest = hashlib.sha256(file.read(start) + BLANK.encode())
    file.seek(start + len(BLANK))
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()
