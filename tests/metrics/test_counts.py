"""How many images a distance needs: its covariance has full rank only with more of them than features."""

import pytest
import torch

from dmp_lightning.metrics.metrics import of_too_few
from dmp_lightning.metrics.moments import Counts, Moments, moments

FEATURES = 6


@pytest.mark.parametrize("images", [FEATURES - 1, FEATURES, FEATURES + 1, FEATURES + 9])
def test_too_few_are_those_of_a_singular_covariance(images: int) -> None:
    values = torch.randn(images, FEATURES, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.matrix_rank(moments(values).covariance) < FEATURES
    assert Counts(images, 100, FEATURES).too_few == singular
    assert Counts(100, images, FEATURES).too_few == singular
    assert Counts(images, None, FEATURES).too_few == singular


def test_the_warning_has_both_numbers_and_the_remedy() -> None:
    text = Counts(1000, 1437, 2048).warning
    assert text.startswith("1,000 samples and 1,437 reference images for 2,048 features: ")
    assert text.endswith("Use more images than features.")
    assert Counts(5, None, 6).warning.startswith("5 samples for 6 features: ")


def test_an_evaluation_names_the_distances_of_too_few_images() -> None:
    generated = {"features": torch.zeros(7, 6), "spatial": torch.zeros(7, 7)}
    reference = {"features": torch.zeros(9, 6), "spatial": torch.zeros(9, 7)}
    assert of_too_few(generated, reference, {}, "fid") == ["sfid"]
    few = {"features": torch.zeros(6, 6)}
    assert of_too_few({"features": generated["features"]}, few, {}, "fid") == ["fid"]
    given = {"features": Moments(torch.zeros(6).double(), torch.eye(6).double())}  # of who knows how many images
    assert of_too_few({"features": generated["features"]}, few, given, "frechet_pixels") == []
