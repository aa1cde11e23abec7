"""Images encoded into a store by the command's own function, against the VAE itself; killed, shared, damaged."""

import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from filelock import FileLock
from PIL import Image
from safetensors.numpy import load_file

from dmp_lightning.data.encode.job import encode as encode_images
from dmp_lightning.data.encode.job import verify
from dmp_lightning.data.latents.manifest import MANIFEST, read_manifest, read_plan, write_record
from dmp_lightning.data.latents.source import Latents
from dmp_lightning.data.pixels import all_images
from dmp_lightning.files import UNFINISHED
from tests.picture_files import png_of, png_of_16_bits
from tests.processes import as_started_by_a_person, forkserver

COUNT = 23
OPTIONS = {
    "labels": "auto",
    "resolution": None,
    "shard_mb": 1,
    "batch_size": 3,
    "workers": 0,
    "on_error": "fail",
}


def make_vae(folder: Path, channels: int) -> AutoencoderKL:
    """Latents (4, 64, 64) of images of 128 pixels: eight fill a shard of 1 MB."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        mid_block_add_attention=False,
        sample_size=128,
    )
    vae.save_pretrained(folder)
    return vae.requires_grad_(False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`images`, of 128 x 128, `vae`, `grey_vae`, and `store`, encoded in one go."""
    place = tmp_path_factory.mktemp("encoding")
    (place / "images").mkdir()
    chance = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = chance.integers(0, 256, (128, 128, 3), np.uint8)
        Image.fromarray(pixels).save(place / "images" / f"{number:02d}.png")
    make_vae(place / "vae", 3)
    make_vae(place / "grey_vae", 1)
    encode(place, place / "store")
    return place


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))


def encode(place: Path, out: Path, images: Path | None = None, vae: str = "vae", **options: Any) -> None:
    encode_images(str(images or place / "images"), str(out), str(place / vae), **OPTIONS | options)


def content(store: Path) -> dict[str, bytes]:
    """All that a complete store holds."""
    return {path.name: path.read_bytes() for path in store.iterdir() if path.is_file()}


@pytest.mark.parametrize("vae", ["vae", "grey_vae"])
def test_a_store_holds_the_posterior_of_each_image_and_of_its_mirror(vae: str, place: Path, tmp_path: Path) -> None:
    store = place / "store"
    if vae == "grey_vae":
        store = tmp_path / "grey"
        encode(place, store, vae=vae)
    manifest = read_manifest(store / MANIFEST)
    moments = np.concatenate([load_file(store / shard.name)["moments"] for shard in manifest.shards])
    model = AutoencoderKL.from_pretrained(place / vae)
    assert [shard.count for shard in manifest.shards] == [8, 8, 7]
    for index in (0, 7, 8, 22):
        image = Image.open(place / "images" / f"{index:02d}.png").convert("L" if vae == "grey_vae" else "RGB")
        pixels = torch.from_numpy(np.array(image)).reshape(128, 128, -1).permute(2, 0, 1)[None] / 127.5 - 1
        for mirror, x in enumerate((pixels, pixels.flip(-1))):
            with torch.no_grad():
                posterior = model.encode(x).latent_dist
            expected = torch.cat([posterior.mean, posterior.std])
            assert torch.allclose(torch.from_numpy(moments[index, mirror]).float(), expected, rtol=1e-3, atol=2e-3)


def test_it_is_what_training_reads(place: Path) -> None:
    train, held_out = (Latents(place / "store", train, place / "vae") for train in (True, False))
    assert (len(train), len(held_out), train.sample_shape, train.num_classes) == (21, 2, (4, 64, 64), 1)
    assert next(all_images(train, 2)).shape == (2, 3, 128, 128)


@pytest.mark.parametrize("options", [{"workers": 2}, {}], ids=["two readers", "one process"])
def test_the_bytes_are_the_same_whoever_reads_the_images(options: dict, place: Path, tmp_path: Path) -> None:
    encode(place, tmp_path / "store", **options)
    assert content(tmp_path / "store") == content(place / "store")


def in_a_process(function: Callable, *arguments: Any) -> Any:
    process = forkserver.Process(target=function, args=arguments)
    process.start()
    return process


def killed(place: Path, out: Path, time: int) -> None:
    """Encode, and be killed at the `time`th writing of a file, when half of it is written."""
    from dmp_lightning.data.encode import shards as encoding
    from dmp_lightning.data.latents import manifest

    torch.set_num_threads(1)
    as_started_by_a_person()
    passed = 0

    def counted(original: Callable) -> Callable:
        def write(first: Any, path: Path, **keywords: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed == time:
                path.write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            return original(first, path, **keywords)

        return write

    encoding.save_file = counted(encoding.save_file)
    original = manifest.write_json

    def write_json(*arguments: Any, **keywords: Any) -> None:
        nonlocal passed
        passed += 1
        if passed == time:
            os.kill(os.getpid(), signal.SIGKILL)
        original(*arguments, **keywords)

    manifest.write_json = write_json
    encode(place, out)


@pytest.mark.parametrize("time", [2, *(pytest.param(time, marks=pytest.mark.slow) for time in (1, 3, 6, 8))])
def test_killed_anywhere_and_started_again_it_gives_the_same_bytes(time: int, place: Path, tmp_path: Path) -> None:
    process = in_a_process(killed, place, tmp_path / "store", time)  # plan, shard, record, shard, ..., manifest
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "store" / MANIFEST).exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("shard-*.json")}
    encode(place, tmp_path / "store")
    assert content(tmp_path / "store") == content(place / "store")
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())  # no shard was encoded twice
    assert not list(tmp_path.rglob(f"shard*{UNFINISHED}"))


def shared(place: Path, out: Path) -> None:
    torch.set_num_threads(1)
    encode(place, out)


@pytest.mark.slow
def test_several_processes_share_the_work(place: Path, tmp_path: Path) -> None:
    processes = [in_a_process(shared, place, tmp_path / "store") for _ in range(3)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert content(tmp_path / "store") == content(place / "store")


def test_a_shard_that_another_is_at_is_left_to_it(place: Path, tmp_path: Path, caplog: Any) -> None:
    records = tmp_path / "store" / ".encoding"
    records.mkdir(parents=True)
    with FileLock(records / "shard-00001.lock"), caplog.at_level("INFO"):
        encode(place, tmp_path / "store")
    assert sorted(path.name for path in (tmp_path / "store").glob("shard*")) == [
        "shard-00000.safetensors",
        "shard-00002.safetensors",
    ]
    assert "Other processes are still encoding" in caplog.text
    encode(place, tmp_path / "store")
    assert content(tmp_path / "store") == content(place / "store")


def damaged(place: Path, folder: Path) -> Path:
    """Six images, of which the third and the fifth cannot be read."""
    folder.mkdir()
    for number in range(6):
        whole = (place / "images" / f"{number:02d}.png").read_bytes()
        (folder / f"{number}.png").write_bytes({2: whole[:900], 4: b"text"}.get(number, whole))
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_stops_it_by_name(workers: int, place: Path, tmp_path: Path) -> None:
    images = damaged(place, tmp_path / "images")
    with pytest.raises(ValueError, match=r"^2\.png cannot be read \(.*\): restore it, or .* on_error=skip"):
        encode(place, tmp_path / "store", images, workers=workers)
    assert not list(tmp_path.rglob("*.safetensors*"))


def test_unreadable_images_are_left_out_on_demand(place: Path, tmp_path: Path) -> None:
    encode(place, tmp_path / "store", damaged(place, tmp_path / "images"), on_error="skip")
    manifest = read_manifest(tmp_path / "store" / MANIFEST)
    assert (manifest.count, manifest.shards[0].skipped) == (4, ("2.png", "4.png"))
    kept = load_file(tmp_path / "store" / "shard-00000.safetensors")["moments"]
    whole = load_file(place / "store" / "shard-00000.safetensors")["moments"]
    assert np.allclose(kept, whole[[0, 1, 3, 5]], atol=2e-3)


def test_nothing_readable_is_an_error(place: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_text("text")
    with pytest.raises(ValueError, match="None of the images could be read"):
        encode(place, tmp_path / "store", tmp_path / "images", on_error="skip")
    assert not (tmp_path / "store" / MANIFEST).exists()


MISTAKES: dict[str, tuple[dict, str]] = {
    "another VAE": ({"vae": "grey_vae"}, "latents of another vae, vae_sha256: choose another folder"),
    "another resolution": (
        {"resolution": 64},
        r"latents of another shape .*, resolution \(128, not 64\), shard_images",
    ),
    "odd resolution": ({"resolution": 127}, "choose a multiple of 2, which the VAE"),
    "no VAE": ({"vae": "none"}, "There is no VAE at .*none"),
    "images of another folder": ({"images": "few"}, "latents of another source, images"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_and_leaves_the_store_alone(mistake: str, place: Path) -> None:
    options, sentence = MISTAKES[mistake]
    if "images" in options:
        images = place / options["images"]
        images.mkdir()
        (images / "1.png").write_bytes((place / "images" / "01.png").read_bytes())
        options = {"images": images}
    before = content(place / "store")
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        encode(place, place / "store", **options)
    assert content(place / "store") == before


def test_verify_tells_all_that_is_wrong(place: Path, tmp_path: Path) -> None:
    verify(str(place / "store"))
    encode(place, tmp_path / "store")
    (tmp_path / "store" / "shard-00000.safetensors").unlink()
    with (tmp_path / "store" / "shard-00002.safetensors").open("rb+") as file:
        file.seek(-1, io.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(ValueError, match=r"(?s)shard-00000.*is missing.*shard-00002.*its checksum does not match"):
        verify(str(tmp_path / "store"))
    with pytest.raises(FileNotFoundError, match=r"There is no .*manifest\.json"):
        verify(str(tmp_path))


def test_a_failed_encode_does_not_block_its_folder(place: Path, tmp_path: Path) -> None:
    images, out = damaged(place, tmp_path / "images"), tmp_path / "store"
    with pytest.raises(ValueError, match="cannot be read"):
        encode(place, out, images)
    for options in ({"labels": "none", "resolution": 64}, {"vae": "grey_vae"}):
        with pytest.raises(ValueError, match="cannot be read"):
            encode(place, out, images, **options)
    for number in (2, 4):
        (images / f"{number}.png").write_bytes((place / "images" / f"{number:02d}.png").read_bytes())
    encode(place, out, images, resolution=64)
    assert read_manifest(out / MANIFEST).plan.shape == (4, 32, 32)


def test_where_nothing_was_readable_the_restored_images_are_encoded(place: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_text("text")
    with pytest.raises(ValueError, match="None of the images could be read"):
        encode(place, tmp_path / "store", tmp_path / "images", on_error="skip")
    shutil.copy(place / "images" / "00.png", tmp_path / "images" / "a.png")
    encode(place, tmp_path / "store", tmp_path / "images")
    assert read_manifest(tmp_path / "store" / MANIFEST).count == 1


def test_a_folder_that_another_fills_is_left_to_it(place: Path, tmp_path: Path) -> None:
    images = damaged(place, tmp_path / "images")
    with pytest.raises(ValueError, match="cannot be read"):
        encode(place, tmp_path / "store", images)
    with (
        FileLock(tmp_path / "store" / ".encoding" / "shard-00000.lock"),
        pytest.raises(ValueError, match="Another proc"),
    ):
        encode(place, tmp_path / "store", images, resolution=64)


def test_a_shard_of_a_plan_that_was_replaced_meanwhile_is_not_kept(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dmp_lightning.data.encode import shards as encoding

    def save(*arguments: Any) -> None:
        save_file(*arguments)
        path = tmp_path / "store" / ".encoding" / "plan.json"
        write_record(replace(read_plan(path), resolution=64), path)

    save_file = encoding.save_file
    monkeypatch.setattr(encoding, "save_file", save)
    with pytest.raises(ValueError, match=r"Another process has restarted .* with other options"):
        encode(place, tmp_path / "store")
    assert not list(tmp_path.rglob("shard-*.json"))


def as_of_an_earlier_version(path: Path) -> None:
    """Take out of a record what earlier versions did not write."""
    content = json.loads(path.read_text())
    content.pop("checksum")
    content.get("plan", content).pop("background", None)
    for shard in (content, *content.get("shards", ())):
        shard.pop("notes", None)
    path.write_text(json.dumps(content))


def test_stores_of_an_earlier_version_are_read_and_not_mixed(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    shutil.copytree(place / "store", out)
    for path in (out / MANIFEST, *(out / ".encoding").glob("*.json")):
        as_of_an_earlier_version(path)
    assert len(Latents(out, True, place / "vae")) == len(Latents(place / "store", True, place / "vae"))
    (out / MANIFEST).unlink()
    (out / ".encoding" / "shard-00001.json").unlink()
    with pytest.raises(ValueError, match=r"was started by an earlier version, which read .* pictures differently"):
        encode(place, out)
    for record in (out / ".encoding").glob("shard-*.json"):
        record.unlink()
    encode(place, out)
    assert content(out) == content(place / "store")


def odd_images(place: Path, folder: Path) -> Path:
    """Of each kind one, which all show the first of the images, or that at half the size."""
    folder.mkdir()
    shutil.copy(place / "images" / "00.png", folder / "0.png")
    pixels = np.array(Image.open(folder / "0.png"))
    (folder / "16.png").write_bytes(png_of_16_bits(pixels.astype(np.uint16) * 257))
    turned = Image.Exif()
    turned[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(pixels[::-1, ::-1])).save(folder / "turned.webp", lossless=True, exif=turned)
    frames = [Image.fromarray(pixels), Image.new("RGB", (128, 128))]
    frames[0].save(folder / "film.png", save_all=True, append_images=frames[1:])
    hidden = np.dstack([pixels, np.full((128, 128), 255, np.uint8)])
    hidden[pixels[..., 0] > 250] = 7, 7, 7, 0
    shown = pixels.copy()
    shown[pixels[..., 0] > 250] = 255
    Image.fromarray(hidden).save(folder / "alpha.png")
    Image.fromarray(shown).save(folder / "beta.png")
    Image.fromarray(pixels[::2, ::2, 0]).save(folder / "grey.png")
    (folder / "bomb.png").write_bytes(png_of(20_000, 10_000, 1, 0, b"\0"))
    (folder / "empty.png").touch()
    return folder


def test_pictures_are_encoded_as_they_are_shown(place: Path, tmp_path: Path, caplog: Any) -> None:
    images = odd_images(place, tmp_path / "images")
    with caplog.at_level("INFO"):
        encode(place, tmp_path / "store", images, on_error="skip", shard_mb=4)
    moments = load_file(tmp_path / "store" / "shard-00000.safetensors")["moments"].astype(np.float32)
    names = [name for name in sorted(path.name for path in images.iterdir()) if name not in ("bomb.png", "empty.png")]
    of = dict(zip(names, moments, strict=True))
    for one, other in (("0", "16"), ("0", "film"), ("alpha", "beta")):
        assert np.allclose(of[f"{one}.png"], of[f"{other}.png"], atol=2e-3)
    assert np.allclose(of["0.png"], of["turned.webp"], atol=2e-3)
    assert (
        "Converted: 1 composed on white, 1 enlarged, 1 grey and repeated in three channels, "
        "1 scaled to 8 bits, 1 taken as their first frame, of several, 1 turned as their EXIF says." in caplog.text
    )
    assert read_manifest(tmp_path / "store" / MANIFEST).shards[0].skipped == ("bomb.png", "empty.png")
    assert "2 images could not be read" in caplog.text
