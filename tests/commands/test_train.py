"""The main job on the digits, a few steps long: what it leaves, and that it can be stopped and resumed."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from dmp_lightning.commands.train import train
from tests.configs import random_base, small
from tests.training.offline_run import read_offline_runs

METHODS = ["dmp", "prompt_tuning", "full_finetune", "frozen"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a DMP run with W&B and CSV."""
    run_dir = tmp_path_factory.mktemp("train") / "run"
    train(small(run_dir, "logger=wandb_csv"))
    return run_dir


def test_the_record_holds_all_that_was_measured(finished: Path) -> None:
    record = json.loads((finished / "results.json").read_text())
    base, final = record["metrics"]["base"], record["metrics"]["final"]
    assert not base.keys() & {"frechet_pixels_change", "loss_difference", "loss_difference_by_stratum"}
    assert record["method"]["parameters"] == 3 * 16 * 32 + 16 * 33 + 16
    assert record["base"]["parameters"] == sum(value.numel() for value in random_base().values())
    assert record["base"]["name"] == "base"
    assert record["method"]["label"] == record["method"]["kind"] == "mixture of prompts (DMP)"
    change = final["loss_difference"]
    assert change["low"] < change["mean"] < change["high"]
    assert change["mean"] == pytest.approx(final["loss"] - base["loss"], abs=1e-6)
    by_stratum = final["loss_difference_by_stratum"]["mean"]
    assert len(by_stratum) == 4
    assert np.mean(by_stratum) == pytest.approx(change["mean"])
    assert len(change["groups"]) == len(final["frechet_pixels_change"]["groups"]) == 20
    assert np.mean(change["groups"]) == pytest.approx(change["mean"])  # of 360 images, 18 in each group
    assert record["seeds"] == {"training": 0, "evaluation": 0}
    assert record["config"]["recipe"]["max_steps"] == 6
    measure = record["measure"]
    assert measure.pop("settings")["evaluation.samples"] == "60"
    assert measure == {
        "metric": "frechet_pixels", "reference_images": 1437, "features": 64, "too_few": ["frechet_pixels"]
    }  # fmt: skip
    assert {"torch", "lightning", "python"} <= record["versions"].keys()


def test_the_patch_holds_what_was_trained_and_nothing_else(finished: Path) -> None:
    with safe_open(finished / "patch.safetensors", "pt") as file:
        assert set(file.keys()) == {"mixture.prompts", "mixture.gate.weight", "mixture.gate.bias"}
        assert json.loads(file.metadata()["about"])["name"] == "digits"
        assert file.get_tensor("mixture.prompts").abs().max() > 0


def test_checkpoints_hold_no_backbone_and_load_without_pickle(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "step-6.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    assert all(name.startswith("method.mixture.") for name in checkpoint["state_dict"])


@pytest.mark.parametrize("name", ["samples", "gates", "loss_difference"])
def test_pictures_are_drawn(finished: Path, name: str) -> None:
    pixels = np.asarray(Image.open(finished / "figures" / f"{name}.png").convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_the_offline_run_of_wandb_holds_metrics_pictures_and_config(finished: Path) -> None:
    (run,) = read_offline_runs(finished)
    logged = {name for row in run.history for name in row}
    assert {"val/loss", "val/frechet_pixels", "val/loss_difference_mean", "train/loss", "train/importance"} <= logged
    assert {f"val/{name}/filenames" for name in ("samples", "gates", "loss_difference")} <= logged
    pictures = [path for path in run.media if path.suffix == ".png"]
    assert len(pictures) == 7  # samples three times, gates and loss difference twice
    assert all(picture.stat().st_size > 1000 for picture in pictures)
    assert run.config["recipe"]["max_steps"] == 6


def test_csv_holds_each_step_once(finished: Path) -> None:
    rows = list(csv.DictReader((finished / "metrics.csv").open()))
    assert [row["step"] for row in rows if row["val/loss"]] == ["0", "2", "5"]


def test_a_base_taken_from_the_record_is_in_the_csv_as_well(finished: Path) -> None:
    run_dir = finished.parent / "frozen"
    metrics = train(small(run_dir, "method=frozen"))
    (row,) = csv.DictReader((run_dir / "metrics.csv").open())
    assert float(row["val/loss"]) == pytest.approx(metrics["loss"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_reports(method: str, tmp_path: Path) -> None:
    metrics = train(small(tmp_path / "run", f"method={method}", "recipe.ema_decay=0.5"))
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (record["method"]["parameters"] == 0) == (method == "frozen")
    assert ("loss_difference" in record["metrics"]["final"]) == (method != "frozen")
    assert metrics["frechet_pixels"] > 0
    assert (tmp_path / "run" / "patch.safetensors").exists() == (method != "frozen")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.1"],
        ["compile=true"],
    ],
    ids=["bf16", "compiled"],
)
def test_other_ways_to_compute_give_nearly_the_same(options: list[str], tmp_path: Path) -> None:
    plain = train(small(tmp_path / "plain"))
    other = train(small(tmp_path / "other", *options))
    assert other["loss"] == pytest.approx(plain["loss"], rel=2e-2)
    patches = [load_file(tmp_path / name / "patch.safetensors") for name in ("plain", "other")]
    assert patches[0].keys() == patches[1].keys()
    assert all(value.dtype == torch.float32 for value in patches[1].values())


@pytest.mark.slow
def test_a_fine_tuned_model_is_a_base_that_loads(tmp_path: Path) -> None:
    first = train(small(tmp_path / "run", "method=full_finetune"))
    weights = tmp_path / "run" / "patch.safetensors"
    again = train(small(tmp_path / "again", "method=frozen", f"backbone.weights={weights}"))
    assert again["loss"] == pytest.approx(first["loss"], rel=1e-6)


FRUGAL = ("backbone.dtype=bfloat16", "activation_checkpointing=true")


@pytest.mark.slow
def test_less_memory_gives_nearly_the_same_patch(tmp_path: Path) -> None:
    plain = train(small(tmp_path / "plain"))
    frugal = train(small(tmp_path / "frugal", *FRUGAL))
    assert frugal["loss"] == pytest.approx(plain["loss"], rel=2e-2)
    one, other = (load_file(tmp_path / name / "patch.safetensors") for name in ("plain", "frugal"))
    assert all(value.dtype == torch.float32 for value in other.values())
    moved = one["mixture.prompts"], other["mixture.prompts"]
    assert torch.nn.functional.cosine_similarity(*(value.flatten() for value in moved), dim=0) > 0.9


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(("dmp",), id="dmp"),
        *(
            pytest.param(method, id=name, marks=pytest.mark.slow)
            for name, method in (("full", ("full_finetune",)), ("frugal", ("dmp", *FRUGAL)))
        ),
    ],
)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(method: tuple[str, ...], tmp_path: Path) -> None:
    name, *more = method
    options = [f"method={name}", *more, "recipe.ema_decay=0.9", "gate.top_k=0.5", "recipe.lr_scheduler.T_max=6"]
    whole = train(small(tmp_path / "whole", *options))
    train(small(tmp_path / "half", *options, "recipe.max_steps=3"))
    checkpoint = tmp_path / "half" / "checkpoints" / "step-3.ckpt"
    resumed = train(small(tmp_path / "half", *options, f"resume={checkpoint}"))
    for name in ("patch", "patch_raw"):
        one, other = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "half"))
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert (resumed["loss"], resumed["frechet_pixels"]) == (whole["loss"], whole["frechet_pixels"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=prompt_tuning"], r"method\._target_ was \S+DMP, now \S+PromptTuning"),
        (["method.injection=first:2"], r"method\.injection was all, now first:2"),
        (["backbone.weights={other}"], "another base"),
    ],
)
def test_resuming_from_something_else_is_an_error(
    finished: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    save_file({name: 2 * value for name, value in random_base().items()}, other)
    checkpoint = finished / "checkpoints" / "step-6.ckpt"
    chosen = [override.format(other=other) for override in overrides]
    with pytest.raises(ValueError, match=message):
        train(small(tmp_path / "run", f"resume={checkpoint}", *chosen))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evaluation.guidance.guidance_scale=2.0"], "guidance_scale=2.0 needs a null label"),
        (["gate.top_k=0.0"], "gate.top_k=0.0 of 16 prompts"),
        (["method.injection=first:9"], "this base has 3 blocks"),
        (["recipe.learning_rates={backbone: 1}", "~recipe.learning_rates.gate"], "lacks"),
        (["sampler.steps=2000"], "sampler.steps=2000"),
        (
            ["backbone=dit_s2", "backbone.weights=null"],
            r"data have shape \(1, 8, 8\), but the base expects \(4, 32, 32\)",
        ),
        (["backbone.model.num_classes=3", "backbone.weights=null"], "10 classes, but the base has 3"),
        (["resume=nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
    ],
)
def test_mistakes_are_told_in_one_sentence(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=message):
        train(small(tmp_path / "run", *overrides))
