"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError

UNFINISHED = ".unfinished"
"""How temporary names end. Only a process that is killed while it writes leaves one."""


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
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors would let nobody else read it
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before the name is: a machine may go down as well
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # which torch and safetensors raise when a disk is full
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise OSError(f"{path} cannot be written ({reason}): make room, or choose another folder.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
