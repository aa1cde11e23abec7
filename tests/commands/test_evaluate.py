"""The evaluate command: its numbers are those of the samples that it writes, however the work was divided."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import AutoencoderKL
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance

from dmp_lightning.commands.evaluate import evaluate
from dmp_lightning.data.digits import load_split
from dmp_lightning.data.latents.vae import weights_hash
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.metrics import chunks
from dmp_lightning.metrics import drawn as sampling
from dmp_lightning.metrics.classifiers import DigitsClassifier
from dmp_lightning.runs.record import read_results
from tests.configs import config, patch_of_digits
from tests.data.test_latents import write_store
from tests.processes import forkserver

QUICK = ["sampler.steps=2", "trainer.accelerator=cpu", "evaluation.samples=120", "evaluation.batch_size=30"]
FRECHET = "frechet_digits_classifier"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 50)


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return patch_of_digits(tmp_path_factory.mktemp("patch"))


def run(output: Path, *overrides: str) -> dict[str, dict[str, float]]:
    return evaluate(config(*QUICK, f"run_dir={output}", *overrides, name="evaluate"))


def test_the_distance_is_that_of_the_samples_that_are_written(tmp_path: Path, patch: Path) -> None:
    metrics = run(tmp_path, f"patch={patch}", "npz=true")
    assert metrics["base"].keys() == metrics["patched"].keys()
    reference = DigitsClassifier()(to_uint8(load_split(train=True)[0])).double().numpy()
    for name in ("base", "patched"):
        with np.load(tmp_path / f"{name}.npz") as content:
            samples = torch.from_numpy(content["arr_0"])[..., :1].permute(0, 3, 1, 2)
        found = DigitsClassifier()(samples).double().numpy()
        moments = [f(x) for x in (found, reference) for f in (lambda x: x.mean(0), lambda x: np.cov(x, rowvar=False))]
        assert metrics[name][FRECHET] == pytest.approx(calculate_frechet_distance(*moments), rel=1e-4)
    assert metrics["base"][FRECHET] != metrics["patched"][FRECHET]


def test_the_record_says_what_the_numbers_depend_on(tmp_path: Path, patch: Path) -> None:
    metrics = run(tmp_path, f"patch={patch}", "strength=0")
    record = read_results(tmp_path / "results.json")
    assert record.metrics["base"] == metrics["base"]
    assert metrics["patched"] == metrics["base"]  # at strength zero it is the base, from the same noise
    assert record.metrics["depend_on"].keys() == {
        "weights_base", "weights_patched", "patch", "features", "reference"
    }  # fmt: skip
    assert (record.measure.reference_images, record.measure.too_few) == (1437, [])
    assert record.metrics["depend_on"]["reference"] == "sklearn-digits-train-1437"
    assert (record.config["evaluation"]["samples"], record.config["sampler"]["steps"]) == (120, 2)


def test_samples_are_at_no_distance_from_themselves(tmp_path: Path) -> None:
    run(tmp_path / "first", "npz=true")
    images = np.load(tmp_path / "first" / "base.npz")["arr_0"][..., :1]
    np.savez(tmp_path / "reference.npz", arr_0=images)
    found = run(tmp_path / "second", f"reference={tmp_path}/reference.npz")["base"]
    assert abs(found[FRECHET]) < 1e-3
    assert found["precision_digits_classifier"] == found["recall_digits_classifier"] == 1


def test_reference_pictures_count_as_encode_would_crop_them(tmp_path: Path) -> None:
    pixels = to_uint8(load_split(train=False)[0][:40])[:, 0].numpy()
    for name in ("same", "larger"):
        (tmp_path / name).mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "same" / f"{number:02d}.png")
        doubled = np.kron(image, np.ones((2, 2), np.uint8))
        wide = np.pad(doubled, ((0, 0), (2, 2)), constant_values=200).astype(np.uint16) * 257
        Image.fromarray(wide).save(tmp_path / "larger" / f"{number:02d}.tif")
    few = ["evaluation.samples=60", f"run_dir={tmp_path}/out"]
    same, larger = (run(tmp_path / "out", *few, f"reference={tmp_path}/{name}") for name in ("same", "larger"))
    assert same == larger


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [1, 4])
def test_interrupted_and_started_again_it_gives_what_it_would_have(
    tmp_path: Path, patch: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    whole = run(tmp_path / "whole", f"patch={patch}")
    generate, calls = sampling.generate, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) > stop_at:
            raise KeyboardInterrupt
        return generate(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(sampling, "generate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "again", f"patch={patch}")
    calls.clear()
    monkeypatch.setattr(sampling, "generate", lambda *arguments: calls.append(1) or generate(*arguments))
    assert run(tmp_path / "again", f"patch={patch}") == whole
    assert len(calls) == 6 - stop_at
    for change in ("sampler.steps=3", "matmul_precision=highest"):
        calls.clear()
        run(tmp_path / "again", f"patch={patch}", change)
        assert len(calls) == 6  # nothing of another evaluation is taken for one's own


def killed(output: Path, patch: Path, time: int) -> None:
    """Evaluate, and be killed when half of the `time`th chunk is written."""
    torch.set_num_threads(1)
    chunks.CHUNK, save, written = 50, safetensors.torch.save_file, []

    def save_half(tensors: dict, path: Path, metadata: dict) -> None:
        written.append(path)
        if len(written) == time:
            path.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        save(tensors, path, metadata)

    safetensors.torch.save_file = save_half
    run(output, f"patch={patch}")


@pytest.mark.slow
@pytest.mark.parametrize("time", [1, *(pytest.param(time, marks=pytest.mark.slow) for time in (31, 33))])
def test_killed_and_started_again_it_gives_what_it_would_have(tmp_path: Path, patch: Path, time: int) -> None:
    whole = run(tmp_path / "whole", f"patch={patch}")
    process = forkserver.Process(target=killed, args=(tmp_path / "again", patch, time))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "again").rglob("*.safetensors")}
    assert len(kept) == time - 1
    assert run(tmp_path / "again", f"patch={patch}") == whole
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())  # none was made twice


def _from(load: Callable, folder: Path, name: str, **options: Any) -> Any:
    return load(folder, **options)


@pytest.mark.parametrize("hub", [False, True], ids=["folder", "hub"])
def test_the_vae_is_recorded_wherever_it_is_from(hub: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_store(tmp_path / "store")
    expected = weights_hash(AutoencoderKL.from_pretrained(store / "vae"))
    vae = str(store / "vae")
    if hub:
        vae = "hf://somebody/some-vae"
        monkeypatch.setattr(
            "dmp_lightning.data.latents.vae.try_to_load_from_cache", lambda name, file: str(store / "vae" / file)
        )
        for name in ("from_pretrained", "load_config"):
            load = getattr(AutoencoderKL, name)
            monkeypatch.setattr(AutoencoderKL, name, partial(_from, load, store / "vae"))
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))
    model = [f"backbone.model.{key}" for key in ("in_channels=4", "num_classes=3", "width=16", "depth=1")]
    latents = ["data=ffhq", f"data.train.folder={store}", f"data.train.vae={vae}", "backbone.weights=null"]
    pixels = ["features=pixels", "features.shape=[3,16,16]", "evaluation.samples=6"]
    found = evaluate(config(*QUICK, *model, *latents, *pixels, f"run_dir={tmp_path}/out", name="evaluate"))
    record = read_results(tmp_path / "out" / "results.json")
    assert record.metrics["depend_on"]["vae"] == expected
    assert found["base"]["frechet_pixels"] > 0


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path, patch: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    samples = ["evaluation.samples=600", "evaluation.batch_size=300"]  # two chunks of 500 at most
    line = [sys.executable, "-m", "dmp_lightning.evaluate", *QUICK, *samples, f"patch={patch}", "run_dir=two"]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # the last bits depend on their number
    group = threads | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(line, cwd=tmp_path, env=os.environ | group | {"RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    found = json.loads((tmp_path / "two" / "results.json").read_text())["metrics"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chunks, "CHUNK", 500)
        one = run(tmp_path / "one", *samples, f"patch={patch}")
    assert {name: found[name] for name in one} == one


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["reference=nowhere"], "no reference at nowhere"),
        (["features=inception", "features.weights=nowhere.pth"], "no Inception-v3 weights at nowhere"),
        (["patch=nowhere.safetensors"], "no patch at nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        run(tmp_path / "out", *overrides)
    assert not (tmp_path / "out").exists()
