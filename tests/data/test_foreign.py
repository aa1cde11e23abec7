"""Latents as fast-DiT and LightningDiT write them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dmp_lightning.data.encode.job import encode
from dmp_lightning.data.latents.source import Latents
from tests.data.test_encoding import OPTIONS

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
    assert (len(source), source.num_classes, source.sample_shape, source.versions, source.moments) == (
        18,
        7,
        SHAPE,
        1,
        False,
    )
    found = source.indices[indices]
    assert np.array_equal(source.draw(drawn.x), latents[found])
    assert drawn.condition.label.tolist() == labels[found].tolist()
    assert (source.store.scale, source.store.shift) == (SCALE, SHIFT)  # which decoding takes away


def test_lightningdit_is_read_scaled_by_the_vae_with_its_mirrors(tmp_path: Path, vae: Path) -> None:
    tensors = write_lightningdit(tmp_path / "latents")
    source = Latents(tmp_path / "latents", True, vae)
    first, second = source.indices[[13, 2]].tolist()
    assert torch.equal(source.draw(source.read([13, 2]).x), (tensors["latents"][[first, second]] - SHIFT) * SCALE)
    found = source.read([13, 13], [0, 1])
    known = torch.stack([tensors["latents"][first], tensors["latents_flip"][first]])
    assert torch.equal(source.draw(found.x), (known - SHIFT) * SCALE)
    assert (found.condition.label[0], source.num_classes, source.versions) == (tensors["labels"][first], 5, 2)


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
    (tmp_path / "features" / "imagenet256_features" / "3.npy").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"3\.npy is not a readable array"):
        Latents(tmp_path / "features", True, vae)
    (tmp_path / "features" / "imagenet256_labels" / "5.npy").unlink()
    with pytest.raises(ValueError, match=r"imagenet256_labels has no 5\.npy"):
        Latents(tmp_path / "features", True, vae)
    tensors = write_lightningdit(tmp_path / "latents")
    path = tmp_path / "latents" / "latents_rank00_shard001.safetensors"
    save_file(tensors | {"labels": tensors["labels"][:3].clone()}, path)
    with pytest.raises(ValueError, match=r"shard001\.safetensors holds latents .* do not fit together"):
        Latents(tmp_path / "latents", True, vae)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"shard001\.safetensors cannot be read as latents"):
        Latents(tmp_path / "latents", True, vae)


def change_feature(change, number: int = 3):
    def apply(folder: Path) -> None:
        path = folder / "imagenet256_features" / f"{number}.npy"
        np.save(path, change(np.load(path)))

    return apply


def change_features(change):
    def apply(folder: Path) -> None:
        for path in (folder / "imagenet256_features").iterdir():
            np.save(path, change(np.load(path)))

    return apply


def label(value):
    return lambda folder: np.save(folder / "imagenet256_labels" / "4.npy", np.array(value))


def put_nan(latent: np.ndarray) -> np.ndarray:
    latent[0, 0, 0, 0] = np.nan
    return latent


def cut(folder: Path) -> None:
    path = folder / "imagenet256_features" / "3.npy"
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            change_features(lambda x: (x * 100).astype(np.int32)),
            r"\.npy holds numbers of type int32, not floating-point",
        ),
        (change_feature(lambda x: x.astype(np.int8), 0), r"/0\.npy holds numbers of type int8"),
        (change_feature(lambda x: x > 0), r"/3\.npy holds numbers of type bool"),
        (change_feature(lambda x: x.astype(np.complex64)), r"/3\.npy holds numbers of type complex64"),
        (change_feature(lambda x: x.astype(object)), r"/3\.npy is not a readable array \(.*[Oo]bject"),
        (change_feature(lambda x: x.astype(str)), r"/3\.npy holds numbers of type str"),
        (change_feature(lambda x: x[:, :1, :1, :1]), r"/3\.npy holds latents of shape \(1, 1, 1, 1\), but other files"),
        (change_feature(lambda x: x[:, :, :4], 0), r"/0\.npy holds latents of shape \(1, 4, 4, 8\), but other files"),
        (change_feature(lambda x: x[0]), r"/3\.npy holds latents of shape \(4, 8, 8\), but other files"),
        (change_feature(lambda x: x[0, 0, 0, 0]), r"/3\.npy holds latents of shape \(\), but other files"),
        (change_feature(lambda x: x[:0]), r"/3\.npy holds latents of shape \(0, 4, 8, 8\), but other files"),
        (change_features(lambda x: x[0]), r"shape \(4, 8, 8\), not \(1, C, H, W\)"),
        (change_features(lambda x: x[:, :0]), r"shape \(1, 0, 8, 8\), not \(1, C, H, W\)"),
        (change_features(lambda x: x[:, :3]), "latents of 3 channels, but the VAE has 4"),
        (
            change_features(lambda x: x / 0.18215),
            r"size \(RMS\) of 5\.5.*, but models expect about 1.*multiplied by .* 0\.5, once",
        ),
        (change_features(lambda x: x * 0.08), r"size \(RMS\) of 0\.0.*, but models expect about 1"),
        (change_features(lambda x: x + 10), r"size \(RMS\) of 10"),
        (change_feature(lambda x: x * 6), r"/3\.npy holds a latent of size \(RMS\) 5\.\d"),
        (change_feature(put_nan), r"/3\.npy\) is not finite"),
        (change_features(lambda x: x * np.array([1, 1, 0, 1], np.float32)[:, None, None]), "channel 2 is constant"),
        (cut, r"/3\.npy is not a readable array \("),
        (label([-1]), r"labels/4\.npy holds the label -1"),
        (label([0.6]), r"labels/4\.npy holds the label 0\.6"),
        (label([np.nan]), r"labels/4\.npy holds the label nan"),
        (label([10**12]), r"labels/4\.npy holds the label 1000000000000"),
        (label(np.eye(1000)[:1]), r"labels/4\.npy holds float64 of shape \(1, 1000\), not one label"),
        (label([True]), r"labels/4\.npy holds bool of shape \(1,\), not one label"),
        (label([]), r"labels/4\.npy holds float64 of shape \(0,\), not one label"),
        (label([1j]), r"labels/4\.npy holds complex128"),
        (lambda folder: (folder / "imagenet256_features" / "4.npy").unlink(), r"features has no 4\.npy, but"),
        (lambda folder: (folder / "other_features").mkdir(), "both imagenet256_features and other_features"),
    ],
)
def test_features_that_are_no_scaled_latents_are_refused_by_name(tmp_path: Path, vae: Path, change, message) -> None:
    write_fast_dit(tmp_path / "features")
    config = json.loads((vae / "config.json").read_text())
    (vae / "config.json").write_text(json.dumps(config | {"latent_channels": 4}))
    Latents(tmp_path / "features", True, vae)
    change(tmp_path / "features")
    with pytest.raises(ValueError, match=message):
        Latents(tmp_path / "features", True, vae)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_features(np.asfortranarray), []),
        (change_features(lambda x: x.astype(">f4")), []),
        (change_features(lambda x: x.astype(np.float64)), ["latents of type float64 are read as float32"]),
        (change_feature(lambda x: x.astype(np.float64)), ["latents of type float32 and float64 are read as float32"]),
        (change_features(lambda x: x), []),
        (label(4.0), ["labels of type float64 are read as whole numbers"]),
        (
            lambda folder: (folder / "imagenet256_features" / ".DS_Store").touch(),
            ["left out files that are not .npy (1)"],
        ),
    ],
)
def test_features_in_another_layout_are_the_same_numbers(tmp_path: Path, vae: Path, caplog, change, said) -> None:
    latents, labels = write_fast_dit(tmp_path / "features")
    change(tmp_path / "features")
    source = Latents(tmp_path / "features", True, vae)
    read = source.read(range(18))
    assert np.array_equal(source.draw(read.x), latents[source.indices])
    assert read.condition.label.tolist() == labels[source.indices].tolist()
    assert [line in message for line, message in zip(said, caplog.messages, strict=True)] == [True] * len(said)


def test_a_file_that_changes_after_opening_is_told_on_reading(tmp_path: Path, vae: Path) -> None:
    write_fast_dit(tmp_path / "features")
    source = Latents(tmp_path / "features", True, vae)
    change_feature(lambda x: x[:, :1, :1, :1], 4)(tmp_path / "features")
    with pytest.raises(ValueError, match=r"/4\.npy has changed from shape .* to \(1, 1, 1, 1\)"):
        source.read(range(18))


def shard(**changes):
    """Replace tensors of the second shard by what the functions make of them."""

    def apply(folder: Path) -> None:
        path = folder / "latents_rank00_shard001.safetensors"
        tensors = load_file(path)
        save_file({name: changes.get(name, lambda x: x)(value).contiguous() for name, value in tensors.items()}, path)

    return apply


def both(change):
    return shard(latents=change, latents_flip=change)


def mirrors_are_copies(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        save_file(tensors | {"latents_flip": tensors["latents"].clone()}, path)


def statistics(**values):
    good = {"mean": torch.zeros(1, 4, 1, 1), "std": torch.ones(1, 4, 1, 1)}
    return lambda folder: torch.save(good | values, folder / "latents_stats.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (both(lambda x: x.int()), r"shard001\.safetensors holds numbers of type int32"),
        (both(lambda x: x[:, :, :4]), r"shard001\.safetensors holds latents of shape \(1, 4, 4, 8\), but other files"),
        (both(lambda x: x * float("nan")), r"of .*shard001\.safetensors\) is not finite"),
        (both(lambda x: x * 20), r"number \d of .*shard001.* holds a latent of size \(RMS\)"),
        (both(lambda x: x[:0]), r"shard001\.safetensors holds latents \(0, 4, 8, 8\)"),
        (
            shard(latents=lambda x: x.half()),
            r"shard001\.safetensors holds latents .* of float16, mirrors .* of float32",
        ),
        (shard(latents_flip=lambda x: x[:, :, :4]), r"shard001\.safetensors holds latents .* do not fit together"),
        (shard(labels=lambda x: x - 5), r"shard001\.safetensors holds the label -3"),
        (shard(labels=lambda x: x + 0.6), r"shard001\.safetensors holds the label 2\.5999"),
        (
            shard(labels=lambda x: x[:, None].expand(-1, 1000)),
            r"labels \(8, 1000\) of int64, which do not fit together",
        ),
        (mirrors_are_copies, r"mirrors \(latents_flip\) that equal the latents"),
        (statistics(std=torch.zeros(1, 4, 1, 1)), r"latents_stats\.pt has a std of \[0\.0"),
        (statistics(std=-torch.ones(4)), r"latents_stats\.pt has a std of \[-1\.0"),
        (statistics(std=torch.full((4,), torch.nan)), r"latents_stats\.pt has a std of \[nan"),
        (statistics(mean=torch.full((4,), torch.inf)), r"latents_stats\.pt has a mean of \[inf"),
        (statistics(std=torch.ones(32)), r"latents_stats\.pt has a std of 32 channels, but the latents have 4"),
        (
            statistics(std=torch.full((4,), 19.0)),
            r"size \(RMS\) of 0\.05.*latents_stats\.pt may belong to other latents",
        ),
    ],
)
def test_shards_that_are_no_latents_are_refused_by_name(tmp_path: Path, vae: Path, change, message: str) -> None:
    write_lightningdit(tmp_path / "latents")
    change(tmp_path / "latents")
    with pytest.raises(ValueError, match=message):
        Latents(tmp_path / "latents", True, vae)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_shards_of_other_types_are_read_and_it_is_said(tmp_path: Path, vae: Path, caplog, dtype: torch.dtype) -> None:
    tensors = write_lightningdit(tmp_path / "latents")
    both(lambda x: x.to(dtype))(tmp_path / "latents")
    source = Latents(tmp_path / "latents", True, vae)
    expected = (tensors["latents"][source.indices[15]].to(dtype).float() - SHIFT) * SCALE
    assert torch.equal(source.draw(source.read([15]).x)[0], expected)
    name = str(dtype).removeprefix("torch.")
    assert f"latents of type {' and '.join(sorted(['float32', name]))} are read as float32" in caplog.text


def test_latents_that_were_scaled_twice_are_said(tmp_path: Path, vae: Path, caplog) -> None:
    write_fast_dit(tmp_path / "features")
    change_features(lambda x: x * 0.18215)(tmp_path / "features")
    Latents(tmp_path / "features", True, vae)
    assert "typical size (RMS) of 0.18" in caplog.text


@pytest.mark.parametrize("write", [write_fast_dit, write_lightningdit])
def test_latents_are_not_encoded_again(tmp_path: Path, vae: Path, write) -> None:
    write(tmp_path / "latents")
    with pytest.raises(ValueError, match=r"already holds latents: set data\.train\.folder to it"):
        encode(str(tmp_path / "latents"), str(tmp_path / "store"), str(vae), **OPTIONS)
    assert not (tmp_path / "store").exists()
