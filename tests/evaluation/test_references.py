"""References: folders of images and files of the ADM evaluator's format, and what is wrong with them."""

import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dmp_lightning.data.digits import Digits
from dmp_lightning.evaluation.features import Features
from dmp_lightning.evaluation.references import SourceImages, check_reference, open_reference

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


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8"])
def test_an_npz_gives_images_and_statistics(tmp_path: Path, dtype: str) -> None:
    mu, sigma = np.arange(3.0, dtype=dtype), np.eye(3, dtype=dtype)
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
        (
            lambda path: np.savez(path, arr_0=PIXELS.astype(float)),
            r"arr_0 is float64 of shape \(5, 6, 4, 3\), not uint8",
        ),
        (lambda path: np.savez(path, arr_0=PIXELS.transpose(0, 3, 1, 2)), "channels come first, transpose"),
        (lambda path: np.savez(path, arr_0=PIXELS[..., :2]), r"shape \(5, 6, 4, 2\), not uint8 .* C 1 or 3: save it"),
        (lambda path: np.savez(path, arr_0=PIXELS[..., 0]), r"arr_0 is uint8 of shape \(5, 6, 4\)"),
        (lambda path: np.savez(path, arr_0=PIXELS[:0]), r"arr_0 is uint8 of shape \(0, 6, 4, 3\)"),
        (lambda path: np.savez(path, mu=np.zeros(3)), "has no sigma beside mu"),
        (lambda path: np.savez(path, arr_0=PIXELS, sigma_s=np.eye(3)), "has no mu_s beside sigma_s"),
    ],
    ids=str,
)
def test_a_bad_npz_is_refused(tmp_path: Path, write, message: str) -> None:
    write(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match=message):
        open_reference(tmp_path / "bad.npz")


def uneven(by: float) -> np.ndarray:
    matrix = np.eye(5)
    matrix[0, 1] += by
    return matrix


@pytest.mark.parametrize("kind", ["", "_s"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu": np.zeros((1, 5))}, r"has shape \(1, 5\) and sigma\w* \(5, 5\), not \(F,\) and \(F, F\)"),
        ({"mu": np.zeros(6)}, r"has shape \(6,\) and sigma\w* \(5, 5\)"),
        ({"sigma": np.ones(5)}, r"has shape \(5,\) and sigma\w* \(5,\)"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, r"has shape \(0,\) and"),
        ({"mu": np.zeros(5, int)}, r"mu\w* is of type int64, not of floating-point"),
        ({"sigma": np.eye(5, dtype=complex)}, r"sigma\w* is of type complex128"),
        ({"sigma": np.eye(5, dtype=np.float16)}, r"sigma\w* is of type float16"),
        ({"sigma": np.eye(5).astype(object)}, "damaged, or holds more than arrays"),
        ({"mu": np.full(5, np.nan)}, r"mu\w* holds numbers that are not finite"),
        ({"sigma": np.eye(5) * np.nan}, r"sigma\w* holds numbers that are not finite"),
        ({"sigma": np.diag([1.0, 1, np.inf, 1, 1])}, r"sigma\w* holds numbers that are not finite"),
        ({"mu": np.full(5, 1e12)}, r"mu\w* holds 1e\+12, more than any features"),
        ({"sigma": np.eye(5) * 1e20}, r"sigma\w* holds 1e\+20, more than any features"),
        ({"sigma": np.zeros((5, 5))}, r"sigma\w* is zero, as if it were made of one image"),
        ({"sigma": np.ones((5, 5))}, r"sigma\w* has rank 1, as if it were made of 2 images"),
        ({"sigma": uneven(0.01)}, r"sigma\w* is not symmetric \(entries differ by 0\.01"),
        ({"sigma": np.eye(5) - 2 * np.diag([0, 0, 0, 0, 1.0])}, r"sigma\w* has the eigenvalue -1: a covariance has"),
        ({"sigma": np.diag([1, 1, 1, 1, -1e-3])}, r"sigma\w* has the eigenvalue -0\.001"),
    ],
    ids=str,
)
def test_statistics_of_no_features_are_refused(tmp_path: Path, changes: dict, message: str, kind: str) -> None:
    arrays = {"mu": np.zeros(5), "sigma": np.eye(5)} | changes
    np.savez(tmp_path / "bad.npz", **{f"{name}{kind}": value for name, value in arrays.items()})
    with pytest.raises(ValueError, match=rf"bad\.npz.*{message}"):
        open_reference(tmp_path / "bad.npz")


@pytest.mark.parametrize(("images", "warned"), [(20, True), (100, False)])
def test_statistics_of_few_images_are_marked(tmp_path: Path, caplog, images: int, warned: bool) -> None:
    features = np.random.default_rng(0).standard_normal((images, 40)).astype(np.float32)
    np.savez(tmp_path / "a.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False).astype(np.float32))
    open_reference(tmp_path / "a.npz")
    assert ("sigma has rank 19 of 40" in caplog.text) is warned


class Two(Features):
    name, num_features = "frechet_two", 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(5), "sigma": np.eye(5)}, "statistics are of 5 features, frechet_two has 2"),
        ({"arr_0": PIXELS[:3]}, "holds 3 images: metrics need 4 or more"),
        ({"arr_0": PIXELS[:4]}, None),
        ({"arr_0": PIXELS[:1], "mu": np.zeros(2), "sigma": np.eye(2)}, None),
    ],
    ids=str,
)
def test_a_reference_that_gives_no_distance_is_refused(tmp_path: Path, arrays: dict, message: str | None) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        check_reference(open_reference(tmp_path / "a.npz"), Two())


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no reference at"):
        open_reference(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no images in"):
        open_reference(tmp_path)


def test_the_datas_own_images_are_those_of_the_training_runs() -> None:
    source = Digits(train=False)
    found = SourceImages(source, torch.device("cpu")).read(range(len(source)))
    assert torch.equal(found, torch.cat(list(source.images(100))))
