"""Latents on disk, written by hand, and a real diffusers VAE with random weights."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.numpy import load_file, save_file

from dmp_lightning.data.latents.checksums import sha256
from dmp_lightning.data.latents.manifest import MANIFEST, Manifest, Plan, Shard, read_manifest, write_record
from dmp_lightning.data.latents.source import Latents
from dmp_lightning.data.latents.vae import weights_hash
from dmp_lightning.data.pixels import all_images

SCALE, SHIFT = 0.18215, 0.5
SHARDS = {"a.safetensors": 30, "b.safetensors": 20}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store"))


def write_store(folder: Path) -> Path:
    """Two shards of 30 and 20 latents (4, 8, 8); the VAE beside them."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
    )
    vae.save_pretrained(folder / "vae")
    chance = np.random.default_rng(0)
    for name, count in SHARDS.items():
        moments = chance.normal(size=(count, 2, 2, 4, 8, 8))
        moments[:, :, 1] = np.abs(moments[:, :, 1])
        tensors = {"moments": moments.astype(np.float16), "labels": chance.integers(0, 3, count)}
        save_file(tensors, folder / name)
    about = {"vae": "vae", "vae_sha256": weights_hash(vae), "resolution": 16, "crop": "none", "source": "noise"}
    about |= {"images": 50, "shard_images": 30, "num_classes": 3, "classes": None, "held_out": None}
    return approve(folder, Plan((4, 8, 8), SCALE, SHIFT, **about))


def approve(folder: Path, plan: Plan | None = None) -> Path:
    """Write a manifest that says of the shards what they are now."""
    plan = plan or read_manifest(folder / MANIFEST).plan
    shards = tuple(Shard(name, count, sha256(folder / name)) for name, count in SHARDS.items())
    write_record(Manifest(plan, 50, shards), folder / MANIFEST)
    return folder


def change_store(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Change the moments of the first shard, as if they had been encoded so."""
    tensors = load_file(folder / "a.safetensors")
    save_file({"moments": change(tensors["moments"]), "labels": tensors["labels"]}, folder / "a.safetensors")
    return approve(folder)


def stored(store: Path, shard: str) -> dict[str, np.ndarray]:
    return load_file(store / f"{shard}.safetensors")


def test_validation_reads_the_scaled_means_of_the_last_tenth(store: Path) -> None:
    held_out = Latents(store, train=False, vae=store / "vae")
    raw = stored(store, "b")["moments"][-5:, 0, 0].astype(np.float32)
    drawn = held_out.read(range(5))
    assert len(held_out) == 5
    assert torch.allclose(held_out.draw(drawn.x), torch.from_numpy((raw - SHIFT) * SCALE))
    assert drawn.condition.label.tolist() == stored(store, "b")["labels"][-5:].tolist()


def test_draws_have_the_moments_that_are_stored(store: Path) -> None:
    source = Latents(store, train=True, vae=store / "vae")
    index, count = 37, 4000
    noise = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = source.draw(source.read([index] * count, [n % 2 for n in range(count)]).x, noise)
    moments = stored(store, "b")["moments"][7].astype(np.float64)
    mean = (moments[:, 0].mean(0) - SHIFT) * SCALE
    # A mixture of two normals: the mean variance, and the variance of the means.
    std = np.sqrt((moments[:, 1] ** 2).mean(0) + moments[:, 0].var(0)) * SCALE
    assert np.allclose(drawn.mean(0), mean, atol=5 * std.max() / count**0.5)
    assert np.allclose(drawn.std(0), std, rtol=0.1)


def test_it_decodes_with_the_scale_of_the_store(store: Path) -> None:
    source = Latents(store, train=False, vae=store / "vae")
    latents = source.draw(source.read([1, 2]).x)
    vae = AutoencoderKL.from_pretrained(store / "vae")
    with torch.no_grad():
        expected = vae.decode(latents / SCALE + SHIFT).sample
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(source.decode(latents), expected, atol=1e-5)  # bf16 would be off by 1e-2
    assert torch.cat(list(all_images(source, 2))).shape == (5, 3, 16, 16)


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"(?s)no latents at .*dmp_lightning\.encode.*no VAE at") as error:
        Latents(tmp_path / "latents", train=True, vae=tmp_path / "vae")
    assert str(tmp_path) in str(error.value)


def test_a_batch_is_what_its_samples_are_alone(store: Path) -> None:
    source = Latents(store, train=True, vae=store / "vae")
    indices = [44, 3, 29, 30, 3, 0]  # of both shards, out of order, one twice
    mirrored = [0, 1, 1, 0, 0, 1]
    batch = source.read(indices, mirrored)
    for place, index in enumerate(indices):
        alone = source.read([index], [mirrored[place]])
        assert torch.equal(batch.x[place], alone.x[0])
        assert batch.condition.label[place] == alone.condition.label[0]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped bit": (lambda store: flip_a_bit(store / "a.safetensors"), r"a\.safetensors is damaged \(its checksum"),
    "cut": (lambda store: os.truncate(store / "b.safetensors", 9000), r"b\.safetensors is damaged \(its checksum"),
    "missing": (lambda store: (store / "b.safetensors").unlink(), r"b\.safetensors, which is missing"),
    "other shape": (
        lambda store: change_store(store, lambda moments: moments[:, 0]),
        r"a\.safetensors has shape \(30, 2, 4, 8, 8\)",
    ),
    "other numbers": (lambda store: change_store(store, np.float32), r"a\.safetensors holds torch.float32"),
    "no tensors": (
        lambda store: (store / "a.safetensors").write_bytes(b"x") and approve(store),
        r"a\.safetensors cannot be read as latents",
    ),
    "manifest of another version": (
        lambda store: (store / MANIFEST).write_text('{"format": 0}'),
        r"manifest\.json does not describe latents \(format 0, not 2\)",
    ),
    "half a manifest": (lambda store: os.truncate(store / MANIFEST, 200), r"manifest\.json does not describe latents"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_at_opening_also_after_the_store_was_found_whole(damage: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    Latents(store, train=True, vae=store / "vae")
    do, sentence = DAMAGES[damage]
    do(store)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        Latents(store, train=True, vae=store / "vae")


def test_whole_shards_are_read_for_their_checksums_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Latents(store, train=True, vae=store / "vae")
    monkeypatch.setattr(
        "dmp_lightning.data.latents.checksums.sha256", lambda path: pytest.fail(f"{path} is read again")
    )
    Latents(store, train=False, vae=store / "vae")


def test_a_latent_that_is_not_finite_is_named(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")

    def spoil(moments: np.ndarray) -> np.ndarray:
        moments[7, 0, 1, 2, 3] = np.inf
        return moments

    change_store(store, spoil)
    source = Latents(store, train=True, vae=store / "vae")
    source.read([6, 8])
    with pytest.raises(ValueError, match=r"Latent 7 \(.*\) is not finite in .*store: encode again"):
        source.read([40, 7, 8])


def test_another_vae_does_not_decode(store: Path, tmp_path: Path) -> None:
    vae = AutoencoderKL.from_pretrained(store / "vae")
    vae.decoder.conv_out.bias.data += 0.1
    vae.save_pretrained(tmp_path / "vae")
    source = Latents(store, train=True, vae=tmp_path / "vae")
    with pytest.raises(ValueError, match=r"vae is not the one that made the latents in .*: set data"):
        source.decode(torch.zeros(1, 4, 8, 8))
