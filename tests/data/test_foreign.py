"""Latents as fast-DiT and LightningDiT write them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dmp_lightning.data.latents import Latents

SCALE, SHIFT = 0.5, 0.25
SHAPE = (4, 8, 8)


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    """Its configuration; nothing is decoded by it."""
    folder = tmp_path / "vae"
    folder.mkdir()
    config = {"_class_name": "AutoencoderKL", "scaling_factor": SCALE, "shift_factor": SHIFT}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_fast_dit(folder: Path, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """One file a sample, numbered; read in the order of the names as texts, as its own loader does."""
    latents = np.random.default_rng(0).standard_normal((count, 1, *SHAPE)).astype(np.float32)
    for kind in ("features", "labels"):
        (folder / f"imagenet256_{kind}").mkdir(parents=True)
    for number in range(count):
        np.save(folder / "imagenet256_features" / f"{number}.npy", latents[number])
        np.save(folder / "imagenet256_labels" / f"{number}.npy", np.array([number % 7]))
    order = np.array(sorted(range(count), key=str))
    return latents[order, 0], order % 7


def write_lightningdit(folder: Path) -> dict[str, torch.Tensor]:
    """Shards of 12 and 8 images."""
    folder.mkdir()
    chance = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(20, *SHAPE, generator=chance) for name in ("latents", "latents_flip")}
    tensors["labels"] = torch.arange(20) % 5
    for number, part in enumerate((slice(0, 12), slice(12, 20))):
        shard = {name: value[part].contiguous() for name, value in tensors.items()}
        save_file(shard, folder / f"latents_rank00_shard{number:03d}.safetensors")
    return tensors


def test_fast_dit_is_read_in_its_order_and_as_scaled_already(tmp_path: Path, vae: Path) -> None:
    latents, labels = write_fast_dit(tmp_path / "features")
    source = Latents(tmp_path / "features", True, vae)
    indices = [17, 3, 0]
    drawn = source.read(indices, [0, 0, 0])
    assert (len(source), source.num_classes, source.sample_shape, source.mirrors, source.moments) == (
        18,
        7,
        SHAPE,
        1,
        False,
    )
    found = source.indices[indices]
    assert np.array_equal(source.draw(drawn.x), latents[found])
    assert drawn.y.tolist() == labels[found].tolist()
    assert (source.store.scale, source.store.shift) == (SCALE, SHIFT)  # which decoding takes away


def test_lightningdit_is_read_scaled_by_the_vae_with_its_mirrors(tmp_path: Path, vae: Path) -> None:
    tensors = write_lightningdit(tmp_path / "latents")
    source = Latents(tmp_path / "latents", True, vae)
    first, second = source.indices[[13, 2]].tolist()
    assert torch.equal(source.draw(source.read([13, 2]).x), (tensors["latents"][[first, second]] - SHIFT) * SCALE)
    found = source.read([13, 13], [0, 1])
    known = torch.stack([tensors["latents"][first], tensors["latents_flip"][first]])
    assert torch.equal(source.draw(found.x), (known - SHIFT) * SCALE)
    assert (found.y[0], source.num_classes, source.mirrors) == (tensors["labels"][first], 5, 2)


def test_lightningdit_is_normalised_by_statistics_beside_it(tmp_path: Path, vae: Path) -> None:
    tensors = write_lightningdit(tmp_path / "latents")
    statistics = {"mean": torch.arange(4.0).view(1, 4, 1, 1), "std": torch.arange(1.0, 5).view(1, 4, 1, 1)}
    torch.save(statistics, tmp_path / "latents" / "latents_stats.pt")
    source = Latents(tmp_path / "latents", True, vae)
    drawn = source.draw(source.read(range(18)).x)
    known = tensors["latents"][source.indices]
    torch.testing.assert_close(drawn, (known - statistics["mean"]) / statistics["std"])
    (tmp_path / "latents" / "latents_stats.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"latents_stats\.pt holds no mean and std"):
        Latents(tmp_path / "latents", True, vae)


def test_what_is_damaged_is_named(tmp_path: Path, vae: Path) -> None:
    write_fast_dit(tmp_path / "features")
    (tmp_path / "features" / "imagenet256_features" / "4.npy").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"4\.npy is no readable array"):
        Latents(tmp_path / "features", True, vae).read(range(18))
    (tmp_path / "features" / "imagenet256_labels" / "5.npy").unlink()
    with pytest.raises(ValueError, match=r"imagenet256_labels has no 5\.npy"):
        Latents(tmp_path / "features", True, vae)
    tensors = write_lightningdit(tmp_path / "latents")
    path = tmp_path / "latents" / "latents_rank00_shard001.safetensors"
    save_file(tensors | {"labels": tensors["labels"][:3].clone()}, path)
    with pytest.raises(ValueError, match=r"shard001\.safetensors holds latents .* do not go together"):
        Latents(tmp_path / "latents", True, vae)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"shard001\.safetensors is no readable shard"):
        Latents(tmp_path / "latents", True, vae)
