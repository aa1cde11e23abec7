"""Latents on disk, written by hand, and a real diffusers VAE with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from dmp_lightning.data.latents import Latents
from dmp_lightning.diffusion.random import Stream, generators

SCALE = 0.18215


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store"))


def write_store(folder: Path) -> Path:
    """Two shards of 30 and 20 latents (4, 8, 8); the VAE beside them."""
    folder.mkdir(exist_ok=True)
    chance = np.random.default_rng(0)
    for name, count in (("a", 30), ("b", 20)):
        moments = chance.normal(size=(count, 2, 2, 4, 8, 8))
        moments[:, :, 1] = np.abs(moments[:, :, 1])
        np.save(folder / f"{name}.npy", moments.astype(np.float16))
        np.save(folder / f"{name}.labels.npy", chance.integers(0, 3, count))
    manifest = {"shape": [4, 8, 8], "scale": SCALE, "shift": 0.5, "num_classes": 3, "shards": ["a", "b"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
    )
    vae.save_pretrained(folder / "vae")
    return folder


def test_validation_reads_the_scaled_means_of_the_last_tenth(store: Path) -> None:
    held_out = Latents(store, train=False, vae=store / "vae")
    raw = np.load(store / "b.npy")[-5:, 0, 0].astype(np.float32)
    drawn = held_out.draw(range(5), None)
    assert len(held_out) == 5
    assert torch.allclose(drawn.x, torch.from_numpy((raw - 0.5) * SCALE))
    assert drawn.y.tolist() == np.load(store / "b.labels.npy")[-5:].tolist()


def test_draws_have_the_moments_that_are_stored(store: Path) -> None:
    source = Latents(store, train=True, vae=store / "vae")
    index, count = 37, 4000
    drawn = source.draw([index] * count, generators(0, Stream.DRAWS, range(count))).x
    stored = np.load(store / "b.npy")[7].astype(np.float64)
    mean = (stored[:, 0].mean(0) - 0.5) * SCALE
    # A mixture of two normals: the mean variance, and the variance of the means.
    std = np.sqrt((stored[:, 1] ** 2).mean(0) + stored[:, 0].var(0)) * SCALE
    assert np.allclose(drawn.mean(0), mean, atol=5 * std.max() / count**0.5)
    assert np.allclose(drawn.std(0), std, rtol=0.1)


def test_it_decodes_with_the_scale_of_the_store(store: Path) -> None:
    source = Latents(store, train=False, vae=store / "vae")
    latents = source.draw([1, 2], None).x
    vae = AutoencoderKL.from_pretrained(store / "vae")
    with torch.no_grad():
        expected = vae.decode(latents / SCALE + 0.5).sample
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(source.decode(latents), expected, atol=1e-5)  # bf16 would be off by 1e-2
    assert torch.cat(list(source.images(2))).shape == (5, 3, 16, 16)


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"(?s)no latents at .*dmp_lightning\.encode.*no VAE at") as error:
        Latents(tmp_path / "latents", train=True, vae=tmp_path / "vae")
    assert str(tmp_path) in str(error.value)


def test_a_shard_of_another_shape_is_an_error(store: Path, tmp_path: Path) -> None:
    manifest = json.loads((store / "manifest.json").read_text()) | {"shards": ["a"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 8, 8), np.float16))
    with pytest.raises(ValueError, match=r"a\.npy has shape \(3, 4, 8, 8\)"):
        Latents(tmp_path, train=True, vae=store / "vae")
