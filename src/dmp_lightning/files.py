"""Files that are written whole or not at all, and JSON with a checksum that is compared when it is read."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError

from dmp_lightning.strict_json import parse
from dmp_lightning.user_error import UnwritableError, UserError

UNFINISHED = ".unfinished"
"""How temporary names end. Only a process that is killed while it writes leaves one."""

being_written: set[Path] = set()
"""Temporary files of this process, which it removes where it is ended at once."""

CHECKSUM = "checksum"
DIGITS = 64  # of a checksum

NUMBERS = re.compile(r'\[\n\s*([^][{}"]+?)\s*\n\s*\]')  # in JSON; no text within it has a line end


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
        raise DamagedError(f"{path} is not valid JSON ({error})") from error
    name, value = next(iter(content.items()), ("", None)) if isinstance(content, dict) else ("", None)
    if isinstance(value, str) and len(value) == DIGITS:  # the checksum, also where its own name is damaged
        del content[name]
        if (name, value) != (CHECKSUM, _json_checksum(content)):
            raise DamagedError(f"{path} is damaged or was edited (its checksum does not match)")
    return content


def _json_checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
