"""A file is written whole or not at all, whatever goes wrong meanwhile."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dmp_lightning.files import replacing

Write = Callable[[Path], object]


def fails_with(error: BaseException) -> Write:
    """Write a part, then fail."""

    def write(path: Path) -> None:
        path.write_text("half")
        raise error

    return write


WRITERS: dict[str, Write] = {
    "text": lambda path: path.write_text("new"),
    "torch": lambda path: torch.save({"a": torch.ones(2)}, path),
    "safetensors": lambda path: save_file({"a": torch.ones(2)}, path),
}
FAILURES: dict[str, tuple[Write, type[BaseException], str]] = {
    "full disk": (
        fails_with(OSError(28, "No space left on device")),
        OSError,
        r"\(No space left on device\): make room",
    ),
    "torch's full disk": (lambda _: torch.save({"a": torch.ones(2)}, "/dev/full"), OSError, r"file cannot be written"),
    "safetensors' full disk": (
        lambda path: save_file({"a": torch.ones(2)}, path.parent / "no folder" / "file"),
        OSError,
        r"file cannot be written",
    ),
    "our mistake": (fails_with(TypeError("not a text")), TypeError, "not a text"),
    "Ctrl-C": (fails_with(KeyboardInterrupt("pressed")), KeyboardInterrupt, "pressed"),
}


@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_whole_file_takes_the_place_with_ordinary_permissions(writer: str, umask: int, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    before = os.umask(umask)
    try:
        for _ in range(2):  # the second replaces the first
            with replacing(path) as temporary:
                WRITERS[writer](temporary)
                content = temporary.read_bytes()
    finally:
        os.umask(before)
    assert path.read_bytes() == content != b""
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_leaves_the_earlier_file_alone(failure: str, tmp_path: Path) -> None:
    write, error, message = FAILURES[failure]
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error, match=message), replacing(path) as temporary:
        write(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    expected = pytest.raises(
        OSError, match=r"file/record cannot be written \(.+\): make room, or choose another folder"
    )
    with expected, replacing(tmp_path / "file" / "record"):
        pass
