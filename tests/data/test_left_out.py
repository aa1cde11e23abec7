"""What lies beside images: all of it is read, counted in one line, or refused by name."""

import gzip
import io
import os
import shutil
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dmp_lightning.data.images.idx import read_idx
from dmp_lightning.data.images.open import open_images
from dmp_lightning.data.pictures import read as pictures
from tests.picture_files import png_of

PNG = png_of(2, 1, 8, 0, b"\0\1\2")


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)


def linked(folder: Path) -> None:
    fill(folder.parent / "elsewhere", "1.png", "2.png")
    (folder / "class").symlink_to(folder.parent / "elsewhere")
    (folder / "3.png").symlink_to(folder / "a.png")


def loops(folder: Path) -> None:
    fill(folder, "b/c/1.png")
    (folder / "b" / "c" / "up").symlink_to(folder / "b")
    (folder / "self").symlink_to(folder)


def special(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "s.png"))


def odd_names(folder: Path) -> None:
    fill(folder, "A.PNG", "a.Png", "ü/é.jpeg", "a b\n.png")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png")).write_bytes(PNG)


FOLDERS: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "links are followed": (linked, 4, ""),
    "but not for ever": (loops, 2, "left out: 2 links to a folder above it."),
    "broken links": (lambda folder: (folder / "b.png").symlink_to("nowhere"), 1, "left out: 1 broken link."),
    "archives": (lambda folder: fill(folder, "b.zip", "c.tar.gz", "d/e.tar"), 1, "left out: 3 archives."),
    "other suffixes": (lambda folder: fill(folder, "b.heic", "c.HEIC", "d.svg"), 1, "left out: 2 .heic, 1 .svg."),
    "hidden": (lambda folder: fill(folder, ".b.png", ".git/c.png", ".d"), 1, "2 hidden files, 1 hidden folder"),
    "clutter": (lambda folder: fill(folder, ".DS_Store", "Thumbs.db", "._a.png", "__MACOSX/a.png"), 1, ""),
    "special files": (special, 1, "left out: 2 special files."),
    "odd names": (odd_names, 6, ""),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_is_read_or_counted_to_the_last_file(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # sockets' names are short
    make, count, line = FOLDERS[case]
    fill(tmp_path / "s", "a.png")
    make(Path("s") if case == "special files" else tmp_path / "s")
    images = open_images(tmp_path / "s")
    assert len(images) == count
    for index, name in enumerate(images.names):
        name.encode()
        assert np.array_equal(images.read(index).image, [[1, 2]])
    assert line in " ".join(caplog.messages) if line else not caplog.messages


def test_a_folder_that_may_not_be_read_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, "a.png", "locked/b.png")
    scan = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read all
    assert len(open_images(tmp_path)) == 1
    assert "left out: 1 unreadable folder." in caplog.text


def test_images_beside_tars_are_not_guessed_about(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b/c.png")
    (tmp_path / "backup.tar").write_bytes(bytes(1024))
    with pytest.raises(
        ValueError, match=r"holds images \(2, the first a\.png\) and tars \(1, the first backup\.tar\): remove one"
    ):
        open_images(tmp_path)


def test_where_nothing_is_left_it_is_said_what_there_is(tmp_path: Path) -> None:
    fill(tmp_path, "a.tar.gz", "b.heic")
    with pytest.raises(FileNotFoundError, match=r"no images in .* \(left out: 1 \.heic, 1 archive\): set reference to"):
        open_images(tmp_path, "reference")


def test_a_zip_is_read_or_counted_to_the_last_member(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("../up.png", "/root.png", "c\\d.png", "n.zip", "t.txt", "__MACOSX/._a.png", "f/", "twice.png"):
            archive.writestr(name, b"" if name == "f/" else PNG)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "up.png")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("twice.png", png_of(1, 1, 8, 0, b"\0\7"))
    images = open_images(tmp_path / "a.zip")
    assert images.names == ["../up.png", "/root.png", "c/d.png", "twice.png"]
    assert [images.read(index).image.size for index in range(4)] == [(2, 1), (2, 1), (2, 1), (1, 1)]
    assert "left out: 1 .txt, 1 archive, 1 earlier file of the same name, 1 link." in caplog.text
    assert not (tmp_path.parent / "up.png").exists()


def flagged(content: bytes, flag: int, method: int) -> bytes:
    """A zip whose members are said to be encrypted, or packed in an unknown way."""
    changed = bytearray(content)
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = changed.index(signature)
        changed[start + place] |= flag
        changed[start + place + 2] |= method
    return bytes(changed)


@pytest.mark.parametrize(("flag", "method", "sentence"), [(1, 0, "encrypted"), (0, 99, "compression")])
def test_members_that_cannot_be_unpacked_are_errors(flag: int, method: int, sentence: str, tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.png", PNG)
    (tmp_path / "a.zip").write_bytes(flagged(content.getvalue(), flag, method))
    with pytest.raises(ValueError, match=sentence):
        open_images(tmp_path / "a.zip").read(0)


def tar_of(path: Path, members: dict[str, bytes]) -> bytes:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.read_bytes()


def test_a_tar_is_read_or_counted_to_the_last_member(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    long = "d/" * 80 + "l.png"
    tar_of(tmp_path / "a.tar", {"./a.png": PNG, "../b.png": PNG, long: PNG, "x.svg": PNG, "._a.png": PNG})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for name, kind in (("link.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE), ("p.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "./a.png"
            tar.addfile(info)
    images = open_images(tmp_path / "a.tar")
    assert len(images) == 3
    assert all(images.read(index).image.size == (2, 1) for index in range(3))
    assert "left out: 1 .svg, 2 links, 1 sparse or special file." in caplog.text


TARS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut between members": (lambda whole: whole[:1024], "is cut off or damaged after 1 files"),
    "cut within a member": (lambda whole: whole[:1600], "damaged archive"),
    "a damaged header": (
        lambda whole: whole[:1024] + bytes([7]) * 64 + whole[1088:],
        "cut off or damaged after 1 file",
    ),
    "two in one": (lambda whole: whole + whole, "has data after its end, like concatenated tars"),
    "compressed": (lambda whole: gzip.compress(whole), "is compressed, .* decompress it first"),
}


@pytest.mark.parametrize("case", TARS)
@pytest.mark.parametrize("place", ["a.tar", "folder"])
def test_a_tar_that_the_library_would_read_in_part_is_refused(case: str, place: str, tmp_path: Path) -> None:
    damage, sentence = TARS[case]
    (tmp_path / "folder").mkdir()
    path = tmp_path / place if place == "a.tar" else tmp_path / "folder" / "a.tar"
    path.write_bytes(damage(tar_of(path, {"a.png": PNG, "b.png": PNG * 20})))
    with pytest.raises(ValueError, match=sentence):
        open_images(tmp_path / place)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_file_too_large_is_not_unpacked(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "folder", "a.png")
    with (tmp_path / "folder" / "b.png").open("wb") as file:
        file.truncate(2**21)
    if kind != "folder":
        shutil.make_archive(str(tmp_path / "folder"), kind, tmp_path / "folder")
    images = open_images(tmp_path / (kind if kind == "folder" else f"folder.{kind}"))
    monkeypatch.setattr(pictures, "MAX_BYTES", 2**20)
    large = next(index for index, name in enumerate(images.names) if name.endswith("b.png"))
    with pytest.raises(ValueError, match="it has 2,097,152 bytes, but the limit is 1,048,576"):
        images.read(large)
    assert images.read(1 - large).image.size == (2, 1)


def test_an_idx_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("dmp_lightning.data.images.idx.MAX_BYTES", 2**20)
    header = bytes([0, 0, 8, 1]) + (2**21).to_bytes(4, "big")
    (tmp_path / "a.gz").write_bytes(gzip.compress(header + bytes(2**21)))
    with pytest.raises(ValueError, match=r"a\.gz unpacks to more than 1,048,576 bytes"):
        read_idx(tmp_path / "a")


def test_names_do_not_decide_on_the_format(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", "PNG")
    assert np.array_equal(open_images(tmp_path).read(0).image, pixels)
