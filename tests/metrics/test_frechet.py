"""The Fréchet distance against pytorch-fid, SciPy and closed forms; its cache; several processes; bf16."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from safetensors.torch import load_file, save_file
from torch import Tensor

from dmp_lightning.data.digits import load_split
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.metrics.classifiers import DigitsClassifier
from dmp_lightning.metrics.features import Features, Pixels
from dmp_lightning.metrics.frechet import FrechetDistance

SHAPE = (1, 4, 4)


def noise_images(count: int, seed: int, mean: float = 128, spread: float = 20, shape: tuple = SHAPE) -> Tensor:
    values = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed)) * spread + mean
    return values.round().clamp(0, 255).to(torch.uint8)


def digits(train: bool) -> Tensor:
    return to_uint8(load_split(train)[0])


def distance(features: Features, reference: Tensor, generated: Tensor) -> float:
    frechet = FrechetDistance(features)
    frechet.reference(reference.split(100), "reference")
    for images in generated.split(70):
        frechet.update(images)
    return frechet.compute()


def scipy_formula(m1: np.ndarray, s1: np.ndarray, m2: np.ndarray, s2: np.ndarray) -> float:
    return ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)


def statistics(features: Features, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    values = features(images).numpy().astype(np.float64)
    return values.mean(0), np.cov(values, rowvar=False)


CASES = {
    "noise": lambda: (Pixels(SHAPE), noise_images(500, 0), noise_images(300, 1, 120, 25)),
    # Some pixels of the digits are never set: these covariances are singular.
    "digits' pixels": lambda: (Pixels((1, 8, 8)), digits(True), digits(False)),
    "digits' classifier": lambda: (DigitsClassifier(), digits(True), digits(False)),
    "fewer images than features": lambda: (Pixels((1, 8, 8)), digits(True)[:40], digits(False)[:30]),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::scipy.linalg.LinAlgWarning")
@pytest.mark.parametrize("formula", [calculate_frechet_distance, scipy_formula])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_other_implementations(case: str, formula):
    features, reference, generated = CASES[case]()
    expected = formula(*statistics(features, generated), *statistics(features, reference))
    assert distance(features, reference, generated) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::scipy.linalg.LinAlgWarning")
def test_agrees_with_pytorch_fid_on_inception(inception):
    reference, generated = (
        noise_images(12, seed, shape=(3, 32, 32), spread=spread) for seed, spread in [(0, 20), (1, 60)]
    )
    expected = calculate_frechet_distance(*statistics(inception, generated), *statistics(inception, reference))
    assert distance(inception, reference, generated) == pytest.approx(expected, rel=1e-6)


def test_shift_and_scale_have_their_closed_forms():
    """A shift costs its squared length; a scale s costs tr(S) (s - 1)^2 and the mean's shift, here in float32."""
    base = noise_images(400, 3, mean=50, spread=10)
    mean, covariance = statistics(Pixels(SHAPE), base)
    assert distance(Pixels(SHAPE), base, base + 20) == pytest.approx(16 * (20 / 127.5) ** 2, rel=1e-6)
    # Pixels are centred: doubling the image v maps the feature f = v / 127.5 - 1 to 2 f + 1.
    expected = ((mean + 1) ** 2).sum() + np.trace(covariance)
    assert distance(Pixels(SHAPE), base, 2 * base) == pytest.approx(expected, rel=1e-6)
    assert distance(Pixels(SHAPE), base, base) == pytest.approx(0, abs=1e-9)


def test_autocast_changes_nothing():
    reference, generated = digits(True)[:200], digits(False)[:200]
    plain = distance(DigitsClassifier(), reference, generated)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert distance(DigitsClassifier(), reference, generated) == plain
    assert plain != torch.tensor(plain).float().item()


def test_reset_forgets_the_generated_images_alone():
    frechet = FrechetDistance(Pixels(SHAPE))
    frechet.reference([noise_images(100, 0)], "a")
    frechet.update(noise_images(50, 1, mean=200))
    frechet.compute()
    frechet.reset()
    frechet.update(noise_images(50, 2))
    assert frechet.compute() == distance(Pixels(SHAPE), noise_images(100, 0), noise_images(50, 2))


def test_update_returns_the_features():
    images = digits(False)[:5]
    torch.testing.assert_close(FrechetDistance(DigitsClassifier()).update(images), DigitsClassifier()(images))


def test_reference_moments_are_numpys():
    frechet = FrechetDistance(Pixels(SHAPE))
    frechet.reference(noise_images(90, 0).split(40), "a")
    for ours, expected in zip(
        frechet.compared_with.moments, statistics(Pixels(SHAPE), noise_images(90, 0)), strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("reference", "generated", "which"),
    [(2, 1, "generated"), (1, 2, "reference"), (0, 5, "reference"), (5, 0, "generated")],
)
def test_fewer_than_two_images_are_refused(reference: int, generated: int, which: str):
    with pytest.raises(ValueError, match=f"at least two {which} images, but has {min(reference, generated)}"):
        distance(Pixels(SHAPE), noise_images(reference, 0), noise_images(generated, 1))


def unread() -> Iterator[Tensor]:
    raise AssertionError("the reference images were read")
    yield


def with_reference(folder: Path, batches, data: str = "a", features: Features | None = None) -> float:
    frechet = FrechetDistance(features or Pixels(SHAPE))
    frechet.reference(batches, data, folder)
    frechet.update(noise_images(50, 9))
    return frechet.compute()


def test_cache_stands_in_for_the_images(tmp_path: Path):
    first = with_reference(tmp_path / "new", [noise_images(100, 0)])
    assert with_reference(tmp_path / "new", unread()) == first
    (file,) = (tmp_path / "new").glob("*.safetensors")
    assert file.stat().st_mode & 0o044, "others on the cluster cannot read it"


def test_runs_that_start_together_compute_the_reference_once(tmp_path: Path) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[Tensor]:
        started.set()
        assert go_on.wait(30)
        yield noise_images(100, 0)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(with_reference, tmp_path, slow())
        assert started.wait(30)
        second = pool.submit(with_reference, tmp_path, unread())
        with pytest.raises(TimeoutError):
            second.result(0.5)
        go_on.set()
        assert first.result(30) == second.result(30)


class Weighted(Pixels):
    """Of the same name as other pixels, with weights of its own."""

    def __init__(self) -> None:
        super().__init__(SHAPE)
        self.register_buffer("weight", torch.ones(1))


@pytest.mark.parametrize("other", [{"data": "b"}, {"features": Weighted()}], ids=["data", "weights"])
def test_cache_is_of_one_reference_and_one_extractor(tmp_path: Path, other: dict):
    with_reference(tmp_path, [noise_images(100, 0)])
    with pytest.raises(AssertionError, match="were read"):
        with_reference(tmp_path, unread(), **other)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def reshape(file: Path) -> None:
    save_file({key: value[:3] if value.ndim else value for key, value in load_file(file).items()}, file)


def drop(file: Path) -> None:
    save_file({"real_features_sum": load_file(file)["real_features_sum"]}, file)


@pytest.mark.parametrize("damage", [truncate, reshape, drop])
def test_damaged_cache_is_made_again(tmp_path: Path, damage, caplog: pytest.LogCaptureFixture):
    first = with_reference(tmp_path, [noise_images(100, 0)])
    (file,) = tmp_path.glob("*.safetensors")
    damage(file)
    with caplog.at_level(logging.WARNING):
        assert with_reference(tmp_path, [noise_images(100, 0)]) == first
    assert f"{file} is damaged" in caplog.text
    assert with_reference(tmp_path, unread()) == first


def test_cache_that_cannot_be_written_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").touch()
    expected = with_reference(tmp_path, [noise_images(100, 0)])
    assert with_reference(tmp_path / "file", [noise_images(100, 0)]) == expected
    assert "could not be cached" in caplog.text


@pytest.mark.slow
def test_two_processes_find_what_one_does(tmp_path: Path):
    """Reference and samples shared by two, once computed and once from the cache."""
    script = Path(__file__).with_name("one_of_two_processes.py")
    processes = [subprocess.Popen([sys.executable, script, str(rank), tmp_path]) for rank in (0, 1)]
    assert [process.wait(300) for process in processes] == [0, 0]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    expected = distance(Pixels(SHAPE), noise_images(201, 0), noise_images(101, 1, 120))
    assert found == [[pytest.approx(expected, rel=1e-9)] * 3] * 2
