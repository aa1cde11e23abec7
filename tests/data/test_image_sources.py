"""The same few images in a folder, a zip, a set of tars and IDX files; and the crop."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dmp_lightning.data.images.labels import choose_labels
from dmp_lightning.data.images.open import open_images
from dmp_lightning.data.images.source import Images
from dmp_lightning.data.pictures.fit import centre_crop

SYNSETS = ("n02000000", "n01000000", "n03000000")


def pictures() -> dict[str, np.ndarray]:
    """Nine images of chance in three folders of synsets, by name."""
    chance = np.random.default_rng(0)
    return {f"{SYNSETS[n % 3]}/a{n}.x.png": chance.integers(0, 256, (20, 24, 3), np.uint8) for n in range(9)}


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def as_folder(path: Path) -> Path:
    for name, pixels in pictures().items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(png(pixels))
    (path / "README.txt").write_text("no image")
    return path


def as_zip(path: Path) -> Path:
    with zipfile.ZipFile(path / "all.zip", "w") as archive:
        archive.writestr("README.txt", "no image")
        archive.writestr("__MACOSX/n01000000/a0.png", b"no image")
        for name, pixels in reversed(pictures().items()):
            archive.writestr(name, png(pixels))
    return path / "all.zip"


def as_tars(path: Path, labelled: int = 9) -> Path:
    """Two tars whose labels are 10, 11 ... in the order of their names; the .cls stand before or after the images."""
    items = sorted(pictures().items())
    for number, part in enumerate((items[:5], items[5:])):
        with tarfile.open(path / f"{number}.tar", "w") as tar:
            for place, (name, pixels) in enumerate(part, start=5 * number):
                files = {name: png(pixels), f"{name.partition('.')[0]}.cls": str(10 + place).encode()}
                for member, content in reversed(files.items()) if place % 2 else files.items():
                    if member.endswith(".cls") and place >= labelled:
                        continue
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return path


def check_all(images: Images) -> None:
    expected = sorted(pictures().items())
    assert len(images) == len(expected)
    for index, (name, pixels) in enumerate(expected):
        assert images.names[index].endswith(name)
        assert np.array_equal(images.read(index).image, pixels)


@pytest.mark.parametrize("make", [as_folder, as_zip, as_tars])
def test_all_images_are_read_in_the_order_of_their_names(make, tmp_path: Path) -> None:
    images = open_images(make(tmp_path))
    check_all(images)
    again = open_images(tmp_path if make is not as_zip else tmp_path / "all.zip")
    assert again.fingerprint == images.fingerprint


@pytest.mark.parametrize("make", [as_folder, as_zip])
@pytest.mark.parametrize("labels", ["auto", "folders"])
def test_synsets_are_labels_in_the_order_of_their_names(make, labels: str, tmp_path: Path) -> None:
    images = open_images(make(tmp_path))
    numbers, classes, _ = choose_labels(images, labels, tmp_path)
    assert classes == ("n01000000", "n02000000", "n03000000")
    assert [classes[number] for number in numbers] == [name.partition("/")[0] for name in images.names]


@pytest.mark.parametrize("place", [".", "raw", "FashionMNIST/raw"])
def test_idx_files_give_the_training_images_and_hold_out_the_test_images(place: str, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    arrays = {}
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 5), ("t10k", 2)):
        kinds = {"images-idx3": chance.integers(0, 256, (count, 6, 6), np.uint8), "labels-idx1": np.arange(count)}
        for kind, array in kinds.items():
            content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            content += array.astype(np.uint8).tobytes()
            (tmp_path / place / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
            arrays[split, kind] = array
    images = open_images(tmp_path)
    assert (len(images), images.held_out) == (7, 2)
    assert images.given.labels.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert np.array_equal(images.read(6).image, arrays["t10k", "images-idx3"][1])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("nothing", None, "There is nothing at"),
        ("empty", "folder", "There are no images in"),
        ("a.zip", b"PK nothing", "holds a damaged archive"),
        ("text", b"<html>", "holds a damaged archive"),
    ],
)
def test_what_holds_no_images_is_named(name: str, content: bytes | str | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=f"{sentence}.*{name}|{name} {sentence}"):
        open_images(path)


def test_a_large_image_is_halved_by_averaging_blocks() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    means = pixels.astype(float).reshape(16, 4, 16, 4, 3).mean((1, 3))
    cropped = np.asarray(centre_crop(Image.fromarray(pixels), 16), float)
    assert np.abs(cropped - means).max() <= 2  # two halvings, each along both axes, and each rounds


@pytest.mark.parametrize("size", [(50, 30), (30, 50), (31, 31), (16, 90), (16, 16)])
def test_the_crop_is_the_middle_square(size: tuple[int, int]) -> None:
    width, height = size
    ramps = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    cropped = centre_crop(Image.fromarray(np.stack([*ramps, ramps[0]], -1).astype(np.uint8)), 16)
    assert cropped.size == (16, 16)
    middle = np.asarray(cropped, float)[6:10, 6:10].mean((0, 1))
    assert np.allclose(middle, 127.5, atol=9)
    spread = np.ptp(np.asarray(cropped, float)[..., 0])
    assert spread == pytest.approx(255 * min(1, height / width), rel=0.15)


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 1), (3, 200), (2**20, 2), (16, 4_000)])
def test_the_longest_pictures_are_cropped_in_little_memory(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (10, 20, 30))
    longer = max(size)
    image.paste((200, 100, 50), (0, 0, longer // 3, 1) if size[0] == longer else (0, 0, 1, longer // 3))
    cropped = centre_crop(image, 16)
    assert np.array_equal(np.asarray(cropped), np.broadcast_to([10, 20, 30], (16, 16, 3))) or longer == 1


def adm_crop(image: Image.Image, size: int) -> np.ndarray:
    """As the words of ADM's repository have it: halve, resize, cut; in numpy's slices instead of Pillow's."""
    while min(image.size) // 2 >= size:
        image = image.resize(tuple(side // 2 for side in image.size), Image.Resampling.BOX)
    factor = size / min(image.size)
    array = np.array(image.resize(tuple(round(side * factor) for side in image.size), Image.Resampling.BICUBIC))
    top, left = ((side - size) // 2 for side in array.shape[:2])
    return array[top : top + size, left : left + size]


@given(st.integers(1, 90), st.integers(1, 90))
def test_other_pictures_are_cropped_as_adm_does_it(width: int, height: int) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    if max(image.size) <= 16 * min(image.size):
        assert np.array_equal(centre_crop(image, 16), adm_crop(image, 16))
