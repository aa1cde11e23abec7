"""Features for pictures of one's own see each kind of damage, and more of it the more there is."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from dmp_lightning.data.pixels import PixelSource, to_uint8
from dmp_lightning.metrics import own_pictures
from dmp_lightning.metrics.moments import Reference, moments
from dmp_lightning.metrics.own_pictures import OwnPictures


class Photographs(PixelSource):
    """Parts of scikit-learn's two photographs, in colour."""

    def __init__(self, pictures: Tensor, cache: Path) -> None:
        self.pixels, self.labels = pictures.float() / 127.5 - 1, torch.zeros(len(pictures), dtype=torch.long)
        self.sample_shape, self.num_classes = (3, 64, 64), 1
        self.fingerprint, self.cache = f"photographs-{len(pictures)}", cache

    def draw(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return x

    def decode(self, x: Tensor) -> Tensor:
        return x


def parts(count: int, seed: int) -> Tensor:
    """Random parts (N, 3, 64, 64) of the photographs, uint8."""
    photographs = [torch.tensor(image).permute(2, 0, 1) for image in load_sample_images().images]
    chance = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        picture = photographs[number % 2]
        top, left = (int(torch.randint(side - 64, (), generator=chance)) for side in picture.shape[1:])
        found.append(picture[:, top : top + 64, left : left + 64])
    return torch.stack(found)


def noisy(pictures: Tensor, strength: float) -> Tensor:
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    return to_uint8((pictures + strength * noise) / 127.5 - 1)


def coloured(pictures: Tensor, strength: float) -> Tensor:
    return to_uint8(pictures * torch.tensor([1 + strength, 1, 1 - strength])[:, None, None] / 127.5 - 1)


DAMAGES: dict[str, tuple[Callable[[Tensor, float], Tensor], list[float]]] = {
    "blur": (lambda pictures, width: gaussian_blur(pictures, [9, 9], [width, width]), [0.5, 0.8, 1.2, 2]),
    "noise": (noisy, [5, 10, 20, 40]),
    "colour": (coloured, [0.1, 0.2, 0.4]),
    "fewer": (lambda pictures, share: pictures[: int(len(pictures) * (1 - share))], [0.8, 0.95, 0.99]),
}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> OwnPictures:
    found = OwnPictures(Photographs(parts(200, 0), tmp_path_factory.mktemp("cache")))
    found.prepare()
    return found


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_distance_grows_with_the_damage(features: OwnPictures, damage: str) -> None:
    reference, pictures = Reference(moments(features(parts(400, 1)))), parts(400, 2)
    change, strengths = DAMAGES[damage]
    none, *some = [
        reference.distance(moments(features(found)))
        for found in (pictures, *(change(pictures, strength) for strength in strengths))
    ]
    assert some == sorted(some)
    assert none < some[0]
    assert some[-1] > 10 * none


def test_weights_are_kept_and_nothing_else_is_drawn(features: OwnPictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_pictures, "STEPS", 0)  # training anew would give other weights
    state = torch.random.get_rng_state()
    again = OwnPictures(features.source)
    assert again.fingerprint == features.fingerprint
    assert torch.equal(torch.random.get_rng_state(), state)


def test_training_is_the_same_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(own_pictures, "STEPS", 3)
    found = [OwnPictures(Photographs(parts(20, 0), tmp_path / name)).fingerprint for name in ("one", "two")]
    assert found[0] == found[1]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 48), (3, 256, 256)])
def test_pictures_of_any_size_grey_too(features: OwnPictures, shape: tuple[int, int, int]) -> None:
    images = torch.randint(256, (2, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert features(images).shape == (2, 64)
    assert torch.allclose(features(images)[1], features(images[1:])[0], atol=1e-4)  # a batch changes nothing
