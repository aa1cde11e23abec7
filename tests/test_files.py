"""A file is written whole or not at all, whatever goes wrong meanwhile."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dmp_lightning.files import UNFINISHED, replacing
from dmp_lightning.folders import TakenError, check_free, component, remove_unfinished

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


@pytest.mark.parametrize("name", ["digits", "Größe 1", "猫", "a.b-c_d+e=f@g,(1)", "_", "7", 7, "a" * 100])
def test_a_name_is_one_part_of_a_path(name: object) -> None:
    assert component(name, "name") == str(name)


BAD_NAMES = [
    "",
    ".",
    "..",
    "../a",
    "a/b",
    "/a",
    "a\\b",
    "a\n",
    "a\0",
    ".a",
    "-a",
    " a",
    "a ",
    "a.",
    "a" * 101,
    "~",
    "$a",
    "a:b",
]


@pytest.mark.parametrize("name", [*BAD_NAMES, ["a"], {}])
def test_any_other_name_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match=r"sweep\.name=.* cannot be the name of a folder: use up to 100 letters"):
        component(name, "sweep.name")


def test_a_folder_is_free_if_it_is_new_empty_or_ours(tmp_path: Path) -> None:
    def is_ours(folder: Path) -> bool:
        return (folder / "ours").exists()

    def check() -> None:
        check_free(tmp_path / "a", is_ours, "choose another.", ("name.log",))

    check()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".hidden").touch()
    (tmp_path / "a" / "name.log").touch()
    check()
    for name in ("metrics.csv", "other.log", "b", "c"):
        (tmp_path / "a" / name).touch()
    with pytest.raises(
        TakenError,
        match=r"a holds files that dmp-lightning did not write \(b, c, metrics\.csv and 1 more\): choose ano",
    ):
        check()
    (tmp_path / "a" / "ours").touch()
    check()


def test_only_what_a_process_of_ours_left_unfinished_is_removed(tmp_path: Path) -> None:
    run, others = tmp_path / "run", tmp_path / "others"
    ours = f"patch.safetensors.{'0123456789abcdef' * 2}{UNFINISHED}"
    for folder in (run, run / "figures", others):
        folder.mkdir()
        (folder / ours).touch()
    kept = [f"thesis{UNFINISHED}", UNFINISHED, f"a.{'0' * 31}{UNFINISHED}", f"a.{'X' * 32}{UNFINISHED}", f"{ours}.txt"]
    for name in kept:
        (run / name).touch()
    (run / "linked").symlink_to(others)
    remove_unfinished(run)
    assert {path.name for path in run.iterdir()} == {*kept, "figures", "linked"}
    assert not list((run / "figures").iterdir())
    assert [path.name for path in others.iterdir()] == [ours]
