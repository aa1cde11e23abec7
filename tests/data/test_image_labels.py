"""Which class each image has, in folders, zips and tars laid out in many ways; and what is asked for."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dmp_lightning.data.images.class_folders import Classes
from dmp_lightning.data.images.labels import choose_labels
from dmp_lightning.data.images.open import open_images
from dmp_lightning.data.images.source import Images


def png(value: int = 0) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(content, "png")
    return content.getvalue()


PNG = png()


def content_of(name: str) -> bytes:
    return PNG if name.endswith((".png", ".jpg")) else b"text"


def write(folder: Path, names: str, files: Mapping[str, bytes] | None = None) -> Path:
    """Files of the given names, parted by spaces; names that end with / are folders."""
    for name in names.split():
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes((files or {}).get(name, content_of(name)))
    return folder


def write_tar(path: Path, names: str, files: Mapping[str, bytes] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in names.split():
            add(tar, name, (files or {}).get(name, content_of(name)))
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    if name.endswith("/"):
        info.type = tarfile.DIRTYPE
    else:
        info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def write_zip(path: Path, names: str, files: Mapping[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names.split():
            archive.writestr(name, b"" if name.endswith("/") else (files or {}).get(name, content_of(name)))
    return path


def labelled(source: Path, labels: str) -> tuple[Images, Classes]:
    images = open_images(source)
    return images, choose_labels(images, labels, source)


def by_image(images: Images, classes: Classes) -> dict[str, int]:
    return dict(zip(images.paths, classes.labels.tolist(), strict=True))


CLASSES: dict[str, tuple[str, str, list[int], tuple[str, ...] | None]] = {
    # name: (files, labels=, the labels of the images in the order of their names, the names of the classes)
    "folders": ("b/1.png a/1.png a/2.png", "folders", [0, 0, 1], ("a", "b")),
    "images one deeper, as in tiny-imagenet": ("n2/images/x.png n1/images/x.png", "folders", [0, 1], ("n1", "n2")),
    "different folders below each": ("a/x/1.png a/y/1.png b/z/1.png", "folders", [0, 0, 1], ("a", "b")),
    "a folder around all": ("set/b/1.png set/a/1.png", "folders", [0, 1], ("a", "b")),
    "train alone": ("train/b/1.png train/a/1.png README.md", "folders", [0, 1], ("a", "b")),
    "a class named train": ("bus/1.png car/1.png train/1.png", "folders", [0, 1, 2], ("bus", "car", "train")),
    "numbers": (" ".join(f"{n}/1.png" for n in range(11)), "folders", [0, 1, 10, *range(2, 10)], None),
    "numbers with zeros": ("00/1.png 01/1.png 02/1.png", "folders", [0, 1, 2], None),
    "hidden folders and what systems leave": (
        "a/1.png b/1.png .ipynb_checkpoints/1.png __MACOSX/a/1.png @eaDir/1.png lost+found/1.png",
        "folders",
        [0, 1],
        ("a", "b"),
    ),
    "one class": ("a/1.png a/2.png", "folders", [0, 0], ("a",)),
    "synsets": ("n02000000/1.png n01000000/1.png", "auto", [0, 1], ("n01000000", "n02000000")),
    "synsets of training": ("train/n02000000/1.png train/n01000000/1.png", "auto", [0, 1], ("n01000000", "n02000000")),
    "synsets, asked for none": ("n02000000/1.png n01000000/1.png", "none", [0, 0], None),
    "flat": ("1.png 2.png", "auto", [0, 0], None),
    "one folder": ("pictures/1.png pictures/2.png", "auto", [0, 0], None),
    "one folder of training": ("train/1.png train/2.png", "auto", [0, 0], None),
    "shards, asked for none": ("00000/1.png 01000/1.png", "none", [0, 0], None),
    "all parts, asked for none": ("train/1.png val/1.png", "none", [0, 0], None),
    "masks beside images": ("a/1.jpg a/1.seg.png a/2.jpg a/2_mask.png b/1.jpg", "folders", [0, 0, 1], ("a", "b")),
}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
@pytest.mark.parametrize("layout", CLASSES)
def test_the_class_is_the_first_folder(layout: str, kind: str, tmp_path: Path) -> None:
    names, labels, numbers, classes = CLASSES[layout]
    if kind == "folder":
        source = write(tmp_path / "s", names)
    else:
        source = (write_zip if kind == "zip" else write_tar)(tmp_path / f"s.{kind}", names)
    images, found = labelled(source, labels)
    known = by_image(images, found)
    assert [known[name] for name in sorted(known)] == numbers
    assert found.names == classes


ASKED: dict[str, tuple[str, str, str]] = {
    "an empty class": ("a/1.png b/ c/1.png", "folders", r"The folder b in .* holds no image"),
    "a class of other files": ("a/1.png b/1.txt b/ c/1.png", "folders", r"The folder b in .* holds no image"),
    "an empty synset": ("n01000000/1.png n02000000/", "auto", r"The folder n02000000 in .* holds no image"),
    "an empty folder beside the one with all": ("a/x/1.png b/", "folders", r"The folder b in .* holds no image"),
    "loose images": ("a/1.png b/1.png 1.png", "folders", r"1\.png is in no class folder of"),
    "depths": ("a/1.png b/x/2.png", "folders", r"holds images at different depths \(a/1\.png and b/x/2\.png\)"),
    "equal leaves": (
        "cat/large/1.png cat/small/1.png dog/large/1.png dog/small/1.png",
        "folders",
        r"holds cat/large and dog/large, so the class folders are unclear",
    ),
    "parts of a set": (
        "train/a/1.png val/a/1.png",
        "folders",
        r"train and val, named like splits, .* source=\S+s/train, or",
    ),
    "parts in capitals": (
        "Train/1.png Test/1.png",
        "auto",
        r"holds Test and Train, named like splits, not classes",
    ),
    "training beside others": ("training/a/1.png more/b/1.png", "folders", r"holds training, named like splits"),
    "ImageNet as it is unpacked": (
        "Data/CLS/train/n01000000/1.png Data/CLS/val/1.png Annotations/a.xml",
        "auto",
        r"source=\S+s/Data/CLS/train",
    ),
    "folders that may be classes": ("cat/1.png dog/1.png", "auto", r"in 2 folders, cat to dog: set labels=folders if"),
    "shards that may be classes": ("00000/1.png 01000/1.png", "auto", r"set labels=folders if each of them is a class"),
    "folders and loose images": ("a/1.png 1.png", "auto", r"in 2 folders, its own to a: set labels=folders"),
    "synsets and others": ("n01000000/1.png cat/1.png", "auto", r"in 2 folders, cat to n01000000: set labels=folders"),
    "numbers with gaps": (
        "0/1.png 2/1.png",
        "folders",
        r"The 2 folders in .* are numbers, 0 to 2, but not exactly 0 to 1",
    ),
    "numbers from 1": ("1/1.png 2/1.png 10/1.png", "folders", r"are numbers, 1 to 10, but not exactly 0 to 2"),
    "one number twice": (
        "0/1.png 1/1.png 01/1.png",
        "folders",
        r"The 3 folders in .* are numbers, .* not exactly 0 to 2, .* rename them",
    ),
    "capitals": ("cat/1.png Cat/2.png", "folders", r"Cat and cat in .* differ only in case or Unicode form"),
    "two forms of Unicode": ("caf\u00e9/1.png cafe\u0301/1.png", "folders", r"differ only in case or Unicode form"),
    "a folder of masks": (
        "images/1.jpg images/2.jpg masks/1.png masks/2.png",
        "none",
        r"so they may be masks: .*source=\S+s/images",
    ),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("layout", ASKED)
def test_what_cannot_be_told_is_asked_for(layout: str, kind: str, tmp_path: Path) -> None:
    names, labels, sentence = ASKED[layout]
    source = write(tmp_path / "s", names) if kind == "folder" else write_zip(tmp_path / "s", names)
    with pytest.raises(ValueError, match=sentence):
        labelled(source, labels)


def test_one_line_names_the_first_and_the_last_class(tmp_path: Path) -> None:
    write(tmp_path, "b/1.png a/1.png a/2.png c/1.png")
    sentence = labelled(tmp_path, "folders")[1].sentence
    assert sentence == f"by the first folder below {tmp_path}: a (2 images) as 0 to c (1 image) as 2"


def test_a_linked_class_counts(tmp_path: Path) -> None:
    write(tmp_path, "s/a/1.png s/c/1.png real/1.png")
    (tmp_path / "s" / "b").symlink_to(tmp_path / "real")
    assert labelled(tmp_path / "s", "folders")[1].names == ("a", "b", "c")


GIVEN: dict[str, tuple[str, dict[str, bytes], list[int]]] = {
    ".cls": ("0.jpg 0.cls 1.jpg 1.cls", {"0.cls": b"3", "1.cls": b" 7\n"}, [3, 7]),
    ".json": ("0.jpg 0.json 1.jpg 1.json", {"0.json": b'{"label": 3}', "1.json": b'{"cls": 7, "label": null}'}, [3, 7]),
    "a .json with the name too": (
        "0.jpg 0.json",
        {"0.json": b'{"label": "cat", "class_id": 5, "caption": "a"}'},
        [5],
    ),
    ".cls and .json": ("0.jpg 0.json 0.cls", {"0.json": b'{"label": 3}', "0.cls": b"3"}, [3]),
    ".index": ("0.jpg 0.index 1.jpg 1.index", {"0.index": b"2", "1.index": b"0"}, [2, 0]),
    ".cls before .index": ("0.jpg 0.cls 0.index", {"0.cls": b"4", "0.index": b"0"}, [4]),
    "with masks and text": (
        "a/0.jpg a/0.seg.png a/0.depth.png a/0.cls a/0.txt",
        {"a/0.cls": b"1"},
        [1],
    ),
    "folders in the tar": ("./x/0.jpg ./x/0.cls ./y/1.jpg ./y/1.cls", {"./x/0.cls": b"1", "./y/1.cls": b"0"}, [1, 0]),
}


@pytest.mark.parametrize("layout", GIVEN)
def test_a_tars_own_labels_are_read(layout: str, tmp_path: Path) -> None:
    names, files, numbers = GIVEN[layout]
    images, classes = labelled(write_tar(tmp_path / "0.tar", names, files), "auto")
    assert (classes.labels.tolist(), classes.names) == (numbers, None)
    assert np.array_equal(images.read(0).image, np.zeros((4, 4, 3)))
    assert "masks" not in layout or str(images.left_out) == "1 .depth.png, 1 .seg.png, 1 .txt"


WRONG: dict[str, tuple[str, dict[str, bytes], str]] = {
    "text": (
        "0.jpg 0.cls",
        {"0.cls": b"cat"},
        r"0\.tar: 0\.cls holds 'cat', not a whole number from 0; or set labels=none",
    ),
    "negative": ("0.jpg 0.cls", {"0.cls": b"-1"}, "holds '-1', not a whole number from 0"),
    "a fraction": ("0.jpg 0.cls", {"0.cls": b"1.0"}, "holds '1.0', not a whole number from 0"),
    "nothing": ("0.jpg 0.cls", {"0.cls": b""}, "holds '', not a whole number from 0"),
    "huge": ("0.jpg 0.cls", {"0.cls": b"9" * 30}, "not a whole number from 0"),
    "text in .json": (
        "0.jpg 0.json",
        {"0.json": b'{"label": "cat"}'},
        "json holds 'cat', not a whole number from 0",
    ),
    "true": ("0.jpg 0.json", {"0.json": b'{"label": true}'}, "json holds 'True', not a whole number"),
    "a list": ("0.jpg 0.json", {"0.json": b'{"label": [0, 1]}'}, "not a whole number from 0"),
    "a damaged .json": ("0.jpg 0.json", {"0.json": b'{"label"'}, "json is damaged"),
    "a nested .json": ("0.jpg 0.json", {"0.json": b"[" * 100_000}, "json is damaged"),
    "two labels": ("0.jpg 0.json 0.cls", {"0.json": b'{"label": 3}', "0.cls": b"4"}, "cls says 4, but .json says 3"),
    "some without": ("0.jpg 0.cls 1.jpg", {"0.cls": b"4"}, r"0\.tar: 1\.jpg has no label, but others have"),
    "a count": (
        " ".join(f"{n}.jpg {n}.index" for n in range(10)),
        {f"{n}.index": b"%d" % n for n in range(10)},
        "only count the images, so they are not labels",
    ),
}


@pytest.mark.parametrize("layout", WRONG)
def test_labels_that_are_none_are_told_unless_none_are_wanted(layout: str, tmp_path: Path) -> None:
    names, files, sentence = WRONG[layout]
    source = write_tar(tmp_path / "0.tar", names, files)
    with pytest.raises(ValueError, match=sentence):
        labelled(source, "auto")
    assert not labelled(source, "none")[1].labels.any()


@pytest.mark.parametrize("names", ["0.jpg 0.png 0.cls", "0.left.png 0.right.png 0.json"])
def test_several_images_of_a_key_are_refused(names: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has two images with the same key, 0"):
        open_images(write_tar(tmp_path / "0.tar", names, {"0.cls": b"0"}))


def test_dots_in_names_of_a_plain_tar_make_no_keys(tmp_path: Path) -> None:
    assert len(open_images(write_tar(tmp_path / "a.tar", "img.001.jpg img.002.jpg"))) == 2


TARS: dict[str, tuple[dict[str, str], str, list[int], tuple[str, ...] | None]] = {
    "ImageNet": (
        {"n02000000.tar": "n02000000_1.jpg n02000000_2.jpg", "n01000000.tar": "n01000000_9.jpg"},
        "auto",
        [0, 1, 1],
        ("n01000000", "n02000000"),
    ),
    "one a class": ({"cat.tar": "1.jpg", "dog.tar": "1.jpg"}, "folders", [0, 1], ("cat", "dog")),
    "shards": ({"00000.tar": "a.jpg a.txt", "00001.tar": "b.jpg b.txt"}, "auto", [0, 0], None),
    "shards with labels": ({"s-0.tar": "a.jpg a.cls", "s-1.tar": "b.jpg b.cls"}, "auto", [5, 5], None),
    "shards with folders": ({"0.tar": "a/1.jpg", "1.tar": "b/1.jpg a/2.jpg"}, "folders", [0, 1, 0], ("a", "b")),
}


@pytest.mark.parametrize("nested", [False, True], ids=["a folder of tars", "a tar of tars"])
@pytest.mark.parametrize("layout", TARS)
def test_tars_are_classes_or_shards(layout: str, nested: bool, tmp_path: Path) -> None:
    tars, labels, numbers, names = TARS[layout]
    for name, files in tars.items():
        write_tar(tmp_path / "s" / name, files, {file: b"5" for file in files.split() if file.endswith(".cls")})
    source = tmp_path / "s"
    if nested:
        source = tmp_path / "all.tar"
        with tarfile.open(source, "w") as tar:
            for name in sorted(tars):
                tar.add(tmp_path / "s" / name, name)
    images, classes = labelled(source, labels)
    assert (classes.labels.tolist(), classes.names) == (numbers, names)
    assert all(np.array_equal(images.read(index).image, np.zeros((4, 4, 3))) for index in range(len(images)))


@pytest.mark.parametrize(
    ("tars", "labels", "sentence"),
    [
        ({"cat.tar": "1.jpg", "dog.tar": "1.jpg"}, "auto", "in 2 folders, cat to dog: set labels=folders"),
        ({"n01000000.tar": "1.jpg", "n02000000.tar": "a.txt"}, "auto", "The folder n02000000 in .* holds no image"),
    ],
)
def test_tars_that_may_be_classes_are_asked_for(tars: dict, labels: str, sentence: str, tmp_path: Path) -> None:
    for name, files in tars.items():
        write_tar(tmp_path / name, files)
    with pytest.raises(ValueError, match=sentence):
        labelled(tmp_path, labels)


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([["00000/1.png", 4], ["00001/2.png", 0], ["00001/3.png", 1]], [4, 0]),
        ([["00000\\1.png", 4], ["00001\\2.png", 0]], [4, 0]),
        (None, [0, 0]),
        ([["00000/1.png", 4]], r"00001/2\.png has no label in dataset\.json"),
        (
            [["00000/1.png", 4], ["00001/2.png", -1]],
            r"The label of 00001/2\.png in dataset\.json is -1, not a whole number",
        ),
        ([["00000/1.png", [0.1, 0.2]], ["00001/2.png", [0.1, 0.2]]], r"is \[0\.1, 0\.2\], not a whole number from 0"),
        ({"00000/1.png": 4}, r"not a list of pairs"),
    ],
)
def test_the_labels_of_stylegan_are_read(kind: str, listed: Any, expected: Any, tmp_path: Path) -> None:
    files = {"dataset.json": json.dumps({"labels": listed}).encode()}
    make = write if kind == "folder" else write_zip
    source = make(tmp_path / "s", "dataset.json 00000/1.png 00001/2.png", files)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            labelled(source, "auto")
    else:
        images, classes = labelled(source, "auto")
        assert classes.labels.tolist() == expected
        assert not +images.left_out


def test_another_dataset_json_gives_nothing(tmp_path: Path) -> None:
    images, classes = labelled(write(tmp_path, "dataset.json 1.png", {"dataset.json": b"[1]"}), "auto")
    assert (classes.labels.tolist(), str(images.left_out)) == ([0], "1 .json")
