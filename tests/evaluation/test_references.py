"""References: folders of images and files of the ADM evaluator's format, and what is wrong with them."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dmp_lightning.data.digits import Digits
from dmp_lightning.evaluation.references import SourceImages, open_reference

MANY = np.random.default_rng(1).integers(0, 256, (3000, 32, 32, 3), np.uint8)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), np.uint8)


def folder(path: Path) -> Path:
    for number, image in enumerate(PIXELS):
        (path / "images" / f"class {number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / "images" / f"class {number % 2}" / f"{number}.png")
    (path / "images" / "notes.txt").write_text("no image")
    return path / "images"


def test_a_folder_is_read_in_order_of_its_names(tmp_path: Path) -> None:
    found = open_reference(folder(tmp_path))
    assert len(found) == 5
    assert np.array_equal(found.read([4, 0]).permute(0, 2, 3, 1), PIXELS[[3, 0]])
    before = found.fingerprint
    Image.fromarray(PIXELS[0]).save(tmp_path / "images" / "another.png")
    assert open_reference(tmp_path / "images").fingerprint != before


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[0, :, :, 0]).save(tmp_path / "0.png")
    assert np.array_equal(open_reference(tmp_path).read([0]), PIXELS[:1, :, :, 0][:, None])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: Image.fromarray(PIXELS[0, :3]).save(path), r"1\.png is of size \(4, 3\)"),
        (lambda path: path.write_bytes(b"no image"), r"1\.png is no readable image"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), r"1\.png is damaged"),
    ],
)
def test_a_bad_image_is_named(tmp_path: Path, change, message: str) -> None:
    found = folder(tmp_path)
    change(found / "class 1" / "1.png")
    with pytest.raises(ValueError, match=message):
        open_reference(found).read(range(5))


def test_an_npz_gives_images_and_statistics(tmp_path: Path) -> None:
    mu, sigma = np.arange(3.0), np.eye(3)
    np.savez(tmp_path / "adm.npz", arr_0=PIXELS, mu=mu, sigma=sigma, mu_s=mu + 1, sigma_s=2 * sigma)
    found = open_reference(tmp_path / "adm.npz")
    assert np.array_equal(found.read([1, 2]).permute(0, 2, 3, 1), PIXELS[1:3])
    assert torch.equal(found.statistics["features"].mean, torch.arange(3.0).double())
    assert torch.equal(found.statistics["spatial"].covariance, 2 * torch.eye(3).double())
    np.savez(tmp_path / "fid_stats.npz", mu=mu, sigma=sigma)
    alone = open_reference(tmp_path / "fid_stats.npz")
    assert (len(alone), alone.statistics.keys()) == (0, {"features"})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_of_an_npz_are_read_as_they_are_asked_for(save: Callable, tmp_path: Path) -> None:
    save(tmp_path / "large.npz", arr_0=MANY)
    tracemalloc.start()
    found = open_reference(tmp_path / "large.npz")
    for start in (0, 100, 101, 250, 7):
        assert np.array_equal(found.read(range(start, start + 20)).permute(0, 2, 3, 1), MANY[start : start + 20])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MANY.nbytes / 2


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_that_is_damaged_within_is_told_on_reading(save: Callable, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", arr_0=MANY)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[500_000:500_020] = bytes(20)
    (tmp_path / "a.npz").write_bytes(content)
    found = open_reference(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz is damaged"):
        found.read(range(len(MANY)))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"no archive"), "damaged, or holds more than arrays"),
        (lambda path: np.savez(path, arr_0=np.array([{}], object)), "damaged, or holds more than arrays"),
        (lambda path: np.savez(path, arr_0=np.asfortranarray(PIXELS)), "column by column"),
        (lambda path: np.savez(path, other=PIXELS), "holds neither arr_0"),
        (lambda path: np.savez(path, arr_0=PIXELS.astype(float)), "holds neither arr_0"),
    ],
    ids=["damaged", "objects", "columns", "other", "floats"],
)
def test_a_bad_npz_is_refused(tmp_path: Path, write, message: str) -> None:
    write(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match=message):
        open_reference(tmp_path / "bad.npz")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no reference at"):
        open_reference(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no images in"):
        open_reference(tmp_path)


def test_the_datas_own_images_are_those_of_the_training_runs() -> None:
    source = Digits(train=False)
    found = SourceImages(source, torch.device("cpu")).read(range(len(source)))
    assert torch.equal(found, torch.cat(list(source.images(100))))
