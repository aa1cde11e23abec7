"""Files that are written whole or not at all, and carry a checksum that is compared when they are read."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from safetensors import SafetensorError

from dmp_lightning.strict_json import parse
from dmp_lightning.user_error import UnwritableError, UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNFINISHED = ".unfinished"
"""How temporary names end. Only a process that is killed while it writes leaves one."""

being_written: set[Path] = set()
"""Temporary files of this process, which it removes where it is ended at once."""

CHECKSUM = "checksum"
BLANK = "0" * 64
"""Stands in the place of a checksum while it is computed."""

NUMBERS = re.compile(r'\[\n\s*([^][{}"]+?)\s*\n\s*\]')  # in JSON; no text within it has a line end

TAIL = b"checksum:"
"""Before the checksum at the end of a zip archive, in what the format calls its comment."""

ZIP_END = b"PK\x05\x06"


class DamagedError(UserError):
    """A file is not as it was written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, to be written to; what is there at the end takes the place of `path`.

    Nobody ever sees half a file, after a failure the earlier one is there, and the permissions are the user's ordinary
    ones. Folders are made where missing.

    Raises:
        OSError: it cannot be written; the sentence names `path`.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        being_written.add(temporary)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors would let nobody else read it
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before the name is: a machine may go down as well
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # which torch and safetensors raise when a disk is full
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise UnwritableError(f"{path} cannot be written ({reason}): make room, or choose another folder.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
        being_written.discard(temporary)


def write_json(content: dict[str, Any], path: Path, indent: int = 2) -> None:
    """Write `content` as JSON, with its checksum as the first key, and each list of numbers on one line."""
    plain = json.loads(json.dumps(content))
    text = json.dumps({CHECKSUM: _json_checksum(plain)} | content, indent=indent, ensure_ascii=False) + "\n"
    text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file, without its checksum; files of earlier versions and of others have none.

    Raises:
        DamagedError: it is no JSON, or not what was written.
        OSError: it cannot be read.
    """
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedError(f"{path} is not JSON ({error})") from error
    name, value = next(iter(content.items()), ("", None)) if isinstance(content, dict) else ("", None)
    if isinstance(value, str) and len(value) == len(BLANK):  # the checksum, also where its own name is damaged
        del content[name]
        if (name, value) != (CHECKSUM, _json_checksum(content)):
            raise DamagedError(f"{path} is damaged or was edited, its checksum is another")
    return content


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
            raise DamagedError(f"{path} is damaged, its checksum is another")
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


def seal_zip(path: Path) -> None:
    """Put a checksum at the end of a zip archive, such as a checkpoint of torch, which stays one.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("rb+") as file:
        file.seek(-2, os.SEEK_END)  # the length of the comment is the last that an archive without one has
        file.write((len(TAIL) + len(BLANK)).to_bytes(2, "little"))
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
        start = max(0, size - len(TAIL) - len(BLANK))
        file.seek(start)
        tail = file.read()
        if tail.startswith(TAIL) and _sha256(file, start).encode() == tail[len(TAIL) :]:
            return
        if tail.startswith(TAIL) or tail[-22:-18] != ZIP_END or tail[-2:] != bytes(2):
            raise DamagedError(f"{path} is damaged, its checksum is another")


def _json_checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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


def _sha256(file: BinaryIO, size: int) -> str:
    """Of the first `size` bytes."""
    file.seek(0)
    digest = hashlib.sha256()
    while file.tell() < size:
        digest.update(file.read(min(2**20, size - file.tell())))
    return digest.hexdigest()
