"""References: folders of images and files of the ADM evaluator's format, and what is wrong with them."""

import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dmp_lightning.data.digits import Digits
from dmp_lightning.data.pictures import read as pictures
from dmp_lightning.data.pictures.fit import centre_crop
from dmp_lightning.data.pixels import all_images
from dmp_lightning.metrics.features import Features
from dmp_lightning.metrics.references import SourceImages, check_reference, open_reference
from tests.picture_files import png_of

MANY = np.random.default_rng(1).integers(0, 256, (3000, 32, 32, 3), np.uint8)
SHAPE = (3, 6, 4)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), np.uint8)


def folder(path: Path) -> Path:
    for number, image in enumerate(PIXELS):
        (path / "images" / f"class {number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / "images" / f"class {number % 2}" / f"{number}.png")
    (path / "images" / "notes.txt").write_text("no image")
    return path / "images"


def test_a_folder_is_read_in_order_of_its_names(tmp_path: Path) -> None:
    found = open_reference(folder(tmp_path), SHAPE)
    assert len(found) == 5
    assert np.array_equal(found.read([4, 0]).permute(0, 2, 3, 1), PIXELS[[3, 0]])
    before = found.fingerprint
    Image.fromarray(PIXELS[0]).save(tmp_path / "images" / "another.png")
    assert open_reference(tmp_path / "images", SHAPE).fingerprint != before


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("first", ["a", "z"])
def test_the_samples_decide_on_grey_or_colour(channels: int, first: str, tmp_path: Path, caplog: Any) -> None:
    grey = PIXELS[0, :, :, 0]
    Image.fromarray(grey).save(tmp_path / f"{first}.png")
    Image.fromarray(PIXELS[1]).save(tmp_path / "m.png")
    found = open_reference(tmp_path, (channels, 6, 4))
    index = 0 if first == "a" else 1
    assert np.array_equal(found.read([index])[0], np.broadcast_to(grey, (channels, 6, 4)))
    expected = (
        np.asarray(Image.fromarray(PIXELS[1]).convert("L"))[None] if channels == 1 else PIXELS[1].transpose(2, 0, 1)
    )
    assert np.array_equal(found.read([1 - index])[0], expected)
    found.log_changes()
    assert ("1 in colour and made grey" if channels == 1 else "1 grey and repeated") in caplog.text


def test_pictures_of_another_size_are_cropped_as_encode_does_it(tmp_path: Path, caplog: Any) -> None:
    sizes = [(20, 30), (8, 8), (5, 40), (64, 16)]
    chance = np.random.default_rng(2)
    images = [Image.fromarray(chance.integers(0, 256, (*size[::-1], 3), np.uint8)) for size in sizes]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    found = open_reference(tmp_path, (3, 8, 8))
    read = found.read(range(4)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(read, [np.asarray(centre_crop(image, 8)) for image in images])
    assert np.array_equal(read[1], images[1])
    found.log_changes()
    assert "Reference of 4 pictures: 3 cropped to the samples' size, 1 enlarged." in caplog.text
    assert found.fingerprint != open_reference(tmp_path, (3, 16, 16)).fingerprint


@pytest.mark.parametrize("kind", ["zip", "tar", "npz"])
def test_archives_give_what_their_folder_gives(kind: str, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for number, image in enumerate(MANY[:3]):
        Image.fromarray(image).save(tmp_path / "s" / f"{number}.png")
    if kind == "npz":
        np.savez(tmp_path / "a.npz", arr_0=MANY[:3])
    else:
        shutil.make_archive(str(tmp_path / "a"), kind, tmp_path / "s")
    folder, archive = open_reference(tmp_path / "s", (1, 16, 16)), open_reference(tmp_path / f"a.{kind}", (1, 16, 16))
    assert torch.equal(folder.read(range(3)), archive.read(range(3)))


def test_a_reference_of_many_pixels_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png_of(20_000, 10_000, 1, 0, b"\0"))
    with pytest.raises(ValueError, match=r"large\.png cannot be read \(it claims more than .* pixels"):
        open_reference(tmp_path, SHAPE).read([0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda path: Image.fromarray(PIXELS[0, :3]).save(path),
            r"1\.png cannot be read \(it has 4 x 3 pixels, not 4 x 6",
        ),
        (lambda path: path.write_bytes(b"no image"), r"1\.png cannot be read \(it is none of PNG, "),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), r"1\.png cannot be read \("),
    ],
)
def test_a_bad_image_is_named(tmp_path: Path, change, message: str) -> None:
    found = folder(tmp_path)
    change(found / "class 1" / "1.png")
    with pytest.raises(ValueError, match=message):
        open_reference(found, SHAPE).read(range(5))


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8"])
def test_an_npz_gives_images_and_statistics(tmp_path: Path, dtype: str) -> None:
    mu, sigma = np.arange(3.0, dtype=dtype), np.eye(3, dtype=dtype)
    np.savez(tmp_path / "adm.npz", arr_0=PIXELS, mu=mu, sigma=sigma, mu_s=mu + 1, sigma_s=2 * sigma)
    found = open_reference(tmp_path / "adm.npz", SHAPE)
    assert np.array_equal(found.read([1, 2]).permute(0, 2, 3, 1), PIXELS[1:3])
    assert torch.equal(found.statistics["features"].mean, torch.arange(3.0).double())
    assert torch.equal(found.statistics["spatial"].covariance, 2 * torch.eye(3).double())
    np.savez(tmp_path / "fid_stats.npz", mu=mu, sigma=sigma)
    alone = open_reference(tmp_path / "fid_stats.npz", SHAPE)
    assert (len(alone), alone.statistics.keys()) == (0, {"features"})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_of_an_npz_are_read_as_they_are_asked_for(save: Callable, tmp_path: Path) -> None:
    save(tmp_path / "large.npz", arr_0=MANY)
    tracemalloc.start()
    found = open_reference(tmp_path / "large.npz", (3, 32, 32))
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
    found = open_reference(tmp_path / "a.npz", (3, 32, 32))
    with pytest.raises(ValueError, match=r"image \d+ of .*a\.npz cannot be read"):
        found.read(range(len(MANY)))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"no archive"), "damaged, or holds more than arrays"),
        (lambda path: np.savez(path, arr_0=np.array([{}], object)), "damaged, or holds more than arrays"),
        (lambda path: np.savez(path, arr_0=np.asfortranarray(PIXELS)), "Fortran order"),
        (lambda path: np.savez(path, other=PIXELS), "holds neither arr_0"),
        (
            lambda path: np.savez(path, arr_0=PIXELS.astype(float)),
            r"arr_0 is float64 of shape \(5, 6, 4, 3\), not uint8",
        ),
        (
            lambda path: np.savez(path, arr_0=PIXELS.transpose(0, 3, 1, 2)),
            r"channels come first, so save arr_0\.transpose",
        ),
        (lambda path: np.savez(path, arr_0=PIXELS[..., :2]), r"shape \(5, 6, 4, 2\), not uint8 .* C = 1 or 3: save it"),
        (lambda path: np.savez(path, arr_0=PIXELS[..., 0]), r"arr_0 is uint8 of shape \(5, 6, 4\)"),
        (lambda path: np.savez(path, arr_0=PIXELS[:0]), r"arr_0 is uint8 of shape \(0, 6, 4, 3\)"),
        (lambda path: np.savez(path, mu=np.zeros(3)), "has no sigma beside mu"),
        (lambda path: np.savez(path, arr_0=PIXELS, sigma_s=np.eye(3)), "has no mu_s beside sigma_s"),
        (lambda path: npz_that_claims(path, "arr_0", (5, 6, 4, 3), 7), "not of the size that its header says"),
        (lambda path: npz_that_claims(path, "mu", (2**18,), 2**21), "bytes, but the limit is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_npz_is_refused(tmp_path: Path, write, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 2**20)
    write(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match=message):
        open_reference(tmp_path / "bad.npz", SHAPE)


def npz_that_claims(path: Path, name: str, shape: tuple[int, ...], size: int) -> None:
    """Write an array of zeros that is `size` bytes long, whatever its header says."""
    dtype = "|u1" if name == "arr_0" else "<f8"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(f"{name}.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        for start in range(0, size, 2**20):
            file.write(bytes(min(2**20, size - start)))
    if name == "mu":
        with zipfile.ZipFile(path, "a") as archive, archive.open("sigma.npy", "w") as file:
            np.lib.format.write_array(file, np.eye(2))


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
        ({"mu": np.full(5, np.nan)}, r"mu\w* contains NaN or infinity"),
        ({"sigma": np.eye(5) * np.nan}, r"sigma\w* contains NaN or infinity"),
        ({"sigma": np.diag([1.0, 1, np.inf, 1, 1])}, r"sigma\w* contains NaN or infinity"),
        ({"mu": np.full(5, 1e12)}, r"mu\w* contains 1e\+12, too large for any features"),
        ({"sigma": np.eye(5) * 1e20}, r"sigma\w* contains 1e\+20, too large for any features"),
        ({"sigma": np.zeros((5, 5))}, r"sigma\w* is zero, so it seems to come from one image"),
        ({"sigma": np.ones((5, 5))}, r"sigma\w* has rank 1, so it seems to come from 2 images"),
        ({"sigma": uneven(0.01)}, r"sigma\w* is not symmetric \(entries differ by 0\.01"),
        (
            {"sigma": np.eye(5) - 2 * np.diag([0, 0, 0, 0, 1.0])},
            r"sigma\w* has the negative eigenvalue -1, so it is not a covariance",
        ),
        ({"sigma": np.diag([1, 1, 1, 1, -1e-3])}, r"sigma\w* has the negative eigenvalue -0\.001"),
    ],
    ids=str,
)
def test_statistics_of_no_features_are_refused(tmp_path: Path, changes: dict, message: str, kind: str) -> None:
    arrays = {"mu": np.zeros(5), "sigma": np.eye(5)} | changes
    np.savez(tmp_path / "bad.npz", **{f"{name}{kind}": value for name, value in arrays.items()})
    with pytest.raises(ValueError, match=rf"bad\.npz.*{message}"):
        open_reference(tmp_path / "bad.npz", SHAPE)


@pytest.mark.parametrize(("images", "warned"), [(20, True), (100, False)])
def test_statistics_of_few_images_are_marked(tmp_path: Path, caplog, images: int, warned: bool) -> None:
    features = np.random.default_rng(0).standard_normal((images, 40)).astype(np.float32)
    np.savez(tmp_path / "a.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False).astype(np.float32))
    open_reference(tmp_path / "a.npz", SHAPE)
    assert ("sigma has rank 19 of 40" in caplog.text) is warned


class Two(Features):
    name, num_features = "frechet_two", 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(5), "sigma": np.eye(5)}, "statistics of 5 features, but frechet_two has 2"),
        ({"arr_0": PIXELS[:3]}, "holds 3 images: the metrics need 4 or more"),
        ({"arr_0": PIXELS[:4]}, None),
        ({"arr_0": PIXELS[:1], "mu": np.zeros(2), "sigma": np.eye(2)}, None),
    ],
    ids=str,
)
def test_a_reference_that_gives_no_distance_is_refused(tmp_path: Path, arrays: dict, message: str | None) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        check_reference(open_reference(tmp_path / "a.npz", SHAPE), Two())


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no reference at"):
        open_reference(tmp_path / "nowhere", SHAPE)
    with pytest.raises(FileNotFoundError, match="no images in"):
        open_reference(tmp_path, SHAPE)


def test_the_datas_own_images_are_those_of_the_training_runs() -> None:
    source = Digits(train=False)
    found = SourceImages(source, torch.device("cpu")).read(range(len(source)))
    assert torch.equal(found, torch.cat(list(all_images(source, 100))))
