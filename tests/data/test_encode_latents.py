"""Latents of fast-DiT and LightningDiT made into stores: what is read then is what was read before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from dmp_lightning.data.encode import latents as encode_latents
from dmp_lightning.data.encode.job import encode, verify
from dmp_lightning.data.latents.manifest import MANIFEST, read_manifest
from dmp_lightning.data.latents.source import Latents
from tests.data.test_encoding import OPTIONS, content, make_vae
from tests.data.test_foreign import write_fast_dit, write_lightningdit

KINDS = ["fast-DiT", "LightningDiT", "LightningDiT with statistics"]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encode_latents, "images_of_a_shard", lambda *_: 7)
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))


def write(kind: str, place: Path) -> Path:
    """A VAE in `place`, and twenty latents of that kind in the folder that is returned."""
    make_vae(place / "vae", 3)
    folder = place / "latents"
    if kind == "fast-DiT":
        write_fast_dit(folder)
    else:
        write_lightningdit(folder)
    if "statistics" in kind:
        statistics = {"mean": torch.arange(4.0).view(1, 4, 1, 1), "std": torch.arange(1.0, 5).view(1, 4, 1, 1)}
        torch.save(statistics, folder / "latents_stats.pt")
    return folder


def convert(folder: Path, out: Path, **options: Any) -> None:
    encode(str(folder), str(out), str(folder.parent / "vae"), **OPTIONS | options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_gives_what_the_folder_gave(kind: str, tmp_path: Path) -> None:
    folder = write(kind, tmp_path)
    convert(folder, tmp_path / "store")
    verify(str(tmp_path / "store"))
    assert [shard.count for shard in read_manifest(tmp_path / "store" / MANIFEST).shards] == [7, 7, 6]
    for train in (True, False):
        before, after = (Latents(place, train, tmp_path / "vae") for place in (folder, tmp_path / "store"))
        for name in ("sample_shape", "num_classes", "mirrors", "moments"):
            assert getattr(before, name) == getattr(after, name), name
        assert len(before) == len(after) == (18 if train else 2)
        for mirror in range(before.mirrors):
            known, found = (source.read(range(len(before)), [mirror] * len(before)) for source in (before, after))
            assert torch.equal(known.y, found.y)
            assert torch.equal(known.x.half(), found.x)
            torch.testing.assert_close(before.draw(known.x), after.draw(found.x), rtol=0, atol=4 * 2**-11)
            torch.testing.assert_close(before.decode(after.draw(found.x)), after.decode(after.draw(found.x)))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_rest_is_made_where_another_has_left_it(workers: int, tmp_path: Path, caplog: Any) -> None:
    folder = write("LightningDiT", tmp_path)
    convert(folder, tmp_path / "whole")
    (tmp_path / "store" / ".encoding").mkdir(parents=True)
    with FileLock(tmp_path / "store" / ".encoding" / "shard-00001.lock"), caplog.at_level("INFO"):
        convert(folder, tmp_path / "store", workers=workers)
    assert "Other processes are at the rest" in caplog.text
    made = (tmp_path / "store" / "shard-00000.safetensors").stat().st_mtime_ns
    convert(folder, tmp_path / "store", workers=workers)
    assert content(tmp_path / "store") == content(tmp_path / "whole")
    assert (tmp_path / "store" / "shard-00000.safetensors").stat().st_mtime_ns == made


def test_what_cannot_be_kept_is_named_and_left_out_on_demand(tmp_path: Path) -> None:
    folder = write("fast-DiT", tmp_path)
    features = folder / "imagenet256_features"
    for name, value in (("10", 1e6), ("11", np.inf)):  # the third and the fourth, in the order of the names
        np.save(features / f"{name}.npy", np.full_like(np.load(features / f"{name}.npy"), value))
    (features / "12.npy").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"latent 2 of .*latents is too large for half precision: restore it, or"):
        convert(folder, tmp_path / "store", labels="none")
    convert(folder, tmp_path / "store", on_error="skip", labels="none")
    manifest = read_manifest(tmp_path / "store" / MANIFEST)
    assert (manifest.count, manifest.plan.num_classes) == (17, 1)
    assert [name.split(" of ")[0] for name in manifest.shards[0].skipped] == ["latent 2", "latent 3", "latent 4"]


@pytest.mark.parametrize("options", [{"labels": "folders"}, {"resolution": 256}])
def test_options_of_images_are_refused(options: dict, tmp_path: Path) -> None:
    folder = write("fast-DiT", tmp_path)
    with pytest.raises(ValueError, match="holds latents with labels, of one resolution: leave"):
        convert(folder, tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()
