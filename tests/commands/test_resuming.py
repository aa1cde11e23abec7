"""What a resumed run may change, which run is resumed, and what gradients accumulated over batches are equal to."""

import csv
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dmp_lightning.commands.checks.values import check_values
from dmp_lightning.commands.train import train
from dmp_lightning.runs.folder import latest_run
from dmp_lightning.tensors import save_tensors
from tests.configs import small

TINY = [
    "evaluation.samples=8",
    "evaluation.batch_size=8",
    "evaluation.strata=2",
    "evaluation.shown=2",
    "sampler.steps=2",
    "recipe.batch_size=8",
    "recipe.max_steps=4",
    "recipe.validate_every=2",
    "recipe.checkpoint_every=1",
    "recipe.lr_scheduler=null",
]
COSINE = "recipe.lr_scheduler={_target_: torch.optim.lr_scheduler.CosineAnnealingLR, _partial_: true, T_max: 4}"


def rows(run_dir: Path, column: str) -> list[str]:
    """The steps that have a number in that column of a run's CSV."""
    return [row["step"] for row in csv.DictReader((run_dir / "metrics.csv").open()) if row[column]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four steps."""
    run_dir = tmp_path_factory.mktemp("resuming") / "run"
    train(small(run_dir, *TINY))
    return run_dir


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run, on the same base."""
    shutil.copy(finished.parent / "base.safetensors", tmp_path)
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


REFUSED = {
    "seed=5": r"seed was 0, now 5",
    "recipe.batch_size=4": r"recipe\.batch_size was 8, now 4",
    "recipe.learning_rates.prompts=1e-5": r"recipe\.learning_rates\.prompts was 0\.01, now 1e-05",
    "recipe.optimizer.weight_decay=0.1": r"recipe\.optimizer\.weight_decay was 0\.0, now 0\.1",
    "+recipe.optimizer.betas=[0.8,0.9]": r"recipe\.optimizer\.betas was None, now \[0\.8, 0\.9\]",
    "recipe.optimizer._target_=torch.optim.SGD": r"recipe\.optimizer\._target_ was torch\.optim\.AdamW, now",
    COSINE: r"recipe\.lr_scheduler was None, now",
    "recipe.ema_decay=0.9": r"recipe\.ema_decay was None, now 0\.9",
    "recipe.max_steps=3": r"recipe\.max_steps=3: .* has already done 4 steps",
    "diffusion=cosine": r"diffusion\.betas\._target_ was .*linear_betas, now .*cosine_betas",
    "loss_weight=min_snr": r"now \S+min_snr",
    "gate=linear": r"method\.gate\.\S+ was",
    "method.condition=timestep_and_label": r"method\.condition was timestep, now timestep_and_label",
    "method.prompt_count=4": r"method\.prompt_count was \S+, now 4",
    "trainer.precision=bf16-mixed": r"trainer\.precision was 32-true, now bf16-mixed",
    "trainer.gradient_clip_val=1": r"trainer\.gradient_clip_val was None, now 1",
    "+trainer.accumulate_grad_batches=2": r"trainer\.accumulate_grad_batches was None, now 2",
    "recipe.validate_every=1": r"recipe\.validate_every was 2, now 1",
    "evaluation.seed=1": r"evaluation\.seed was 0, now 1",
    "evaluation.samples=9": r"evaluation\.samples was 8, now 9",
    "sampler.steps=3": r"sampler\.steps was 2, now 3",
    "features=digits_classifier": r"features\._target_ was .*Pixels, now",
}


@pytest.mark.parametrize("change", REFUSED)
def test_other_settings_are_refused_by_name_with_both_values(change: str, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=REFUSED[change]):
        train(small(finished, *TINY, "resume=latest", change))
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_more_steps_at_a_constant_rate_are_those_of_a_longer_run(run_dir: Path, tmp_path: Path) -> None:
    longer = [*TINY, "recipe.max_steps=7"]
    whole = train(small(tmp_path / "whole", *longer))
    other = ["data.workers=1", "recipe.checkpoint_every=3", "label=mine", "trainer.log_every_n_steps=2"]
    resumed = train(small(run_dir, *longer, "resume=latest", *other))
    assert (resumed["loss"], resumed["frechet_pixels"]) == (whole["loss"], whole["frechet_pixels"])
    one, two = (load_file(folder / "patch.safetensors") for folder in (tmp_path / "whole", run_dir))
    assert all(torch.equal(one[name], two[name]) for name in one)
    record = json.loads((run_dir / "results.json").read_text())
    assert (record["config"]["recipe"]["max_steps"], record["method"]["label"]) == (7, "mine")
    assert rows(run_dir, "val/loss_difference_mean") == ["1", "3", "5", "7"]  # the last after the end


def test_a_finished_run_is_not_validated_again_nor_left_unvalidated(run_dir: Path) -> None:
    results = json.loads((run_dir / "results.json").read_text())
    again = train(small(run_dir, *TINY, "resume=latest"))
    assert again["loss"] == results["metrics"]["final"]["loss"]
    assert rows(run_dir, "val/loss_difference_mean") == ["1", "3"]


@pytest.mark.slow
def test_a_schedule_of_the_rate_is_not_gone_beyond(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(small(run, *TINY, COSINE))
    with pytest.raises(ValueError, match=r"recipe\.max_steps=6: the rate's schedule ends after \S+T_max=4 steps"):
        train(small(run, *TINY, COSINE, "resume=latest", "recipe.max_steps=6"))
    turned = COSINE.replace("T_max: 4", "T_max: 6")
    with pytest.raises(ValueError, match=r"recipe\.lr_scheduler\.T_max was 4, now 6"):
        train(small(run, *TINY, turned, "resume=latest", "recipe.max_steps=6"))


def test_a_checkpoint_without_settings_is_refused(run_dir: Path) -> None:
    for path in (run_dir / "checkpoints").iterdir():
        checkpoint = torch.load(path, weights_only=True)
        del checkpoint["settings"]
        torch.save(checkpoint, path)
    with pytest.raises(
        ValueError, match=r"step-4\.ckpt does not hold the settings of its run: start a new run without resume"
    ):
        train(small(run_dir, *TINY, "resume=latest"))


def test_other_data_at_the_same_place_is_refused(run_dir: Path) -> None:
    for path in (run_dir / "checkpoints").iterdir():
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["fingerprints"]["training data"] = "others"
        torch.save(checkpoint, path)
    message = r"made with other training data \(was others, now sklearn-digits-train-1437\)"
    with pytest.raises(ValueError, match=message):
        train(small(run_dir, *TINY, "resume=latest"))


def test_a_run_says_what_it_was_told_and_when_it_began(finished: Path) -> None:
    begun = json.loads((finished / "begun.json").read_text())
    checkpoint = torch.load(finished / "checkpoints" / "step-4.ckpt", weights_only=True)
    assert begun["config"] == checkpoint["settings"]
    assert begun["config"]["recipe"]["max_steps"] == 4
    assert begun["name"] == "digits"
    assert begun["started"] < max(f"{begun['started'][:4]}~", begun["started"])


def a_run(folder: Path, started: str | None, touched: int) -> Path:
    """The folder of a run that has a checkpoint of that time."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "step-1.ckpt").touch()
    os.utime(folder / "checkpoints" / "step-1.ckpt", (touched, touched))
    if started is not None:
        content = {"schema": 1, "config": {}, "started": started}
        (folder / "begun.json").write_text(json.dumps(content))
    return folder


def test_the_latest_run_is_the_one_that_was_started_last(tmp_path: Path) -> None:
    a_run(tmp_path / "2026-01-02_00-00-00", None, touched=2_000_000_000)  # the newest file
    a_run(tmp_path / "a", "2026-01-03T00:00:00.000001", touched=1)
    assert latest_run(tmp_path).name == "a"
    second = a_run(tmp_path / "sweep" / "b", "2026-01-03T00:00:00.000002", touched=1)
    assert latest_run(tmp_path) == second
    assert latest_run(tmp_path / "sweep") == second
    newest = a_run(tmp_path / "2026-01-04_00-00-00", None, touched=1)
    assert latest_run(tmp_path) == newest
    (newest / "checkpoints" / "step-1.ckpt").rename(newest / "checkpoints" / "step-last.ckpt")  # none of ours
    assert latest_run(tmp_path) == second


ACCUMULATED = ["+trainer.accumulate_grad_batches=4", "recipe.batch_size=2"]


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_a_batch_as_large(tmp_path: Path) -> None:
    """Of a method whose loss is a mean over samples: a balance is over batches."""
    plain = [*TINY, "method=lora", "recipe.ema_decay=0.5"]
    large = train(small(tmp_path / "large", *plain))
    accumulated = train(small(tmp_path / "accumulated", *plain, *ACCUMULATED))
    assert accumulated["loss"] == pytest.approx(large["loss"], rel=1e-5)
    for name in ("patch", "patch_raw"):
        one, two = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("large", "accumulated"))
        for key in one:
            assert torch.allclose(one[key], two[key], atol=2e-4), key
    tables = [list(csv.DictReader((tmp_path / run / "metrics.csv").open())) for run in ("large", "accumulated")]
    assert [row["step"] for row in tables[0]] == [row["step"] for row in tables[1]]
    for row, other in zip(*tables, strict=True):
        if row["train/loss"]:
            assert float(row["train/loss"]) == pytest.approx(float(other["train/loss"]), rel=1e-3)


@pytest.mark.slow
def test_a_run_that_accumulates_is_counted_in_steps_and_resumes_exactly(tmp_path: Path) -> None:
    options = [*TINY, *ACCUMULATED, "recipe.ema_decay=0.5", "recipe.validate_every=3"]
    whole = train(small(tmp_path / "whole", *options))
    assert rows(tmp_path / "whole", "val/loss_difference_mean") == ["2", "4"]  # the last after the end
    assert rows(tmp_path / "whole", "train/loss") == ["0", "1", "2", "3"]
    checkpoint = torch.load(tmp_path / "whole" / "checkpoints" / "step-4.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    train(small(tmp_path / "half", *options, "recipe.max_steps=2"))
    resumed = train(small(tmp_path / "half", *options, "resume=latest"))
    assert (resumed["loss"], resumed["frechet_pixels"]) == (whole["loss"], whole["frechet_pixels"])
    for name in ("patch", "patch_raw"):
        one, two = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "half"))
        assert all(torch.equal(one[key], two[key]) for key in one)


SMOKE = [
    "+trainer.fast_dev_run=true",
    "+trainer.fast_dev_run=2",
    "+trainer.limit_train_batches=2",
    "+trainer.limit_train_batches=0.5",
    "+trainer.limit_val_batches=1",
    "+trainer.limit_val_batches=0",
    "+trainer.overfit_batches=1",
    "trainer.num_sanity_val_steps=2",
    "+trainer.max_time='00:00:00:10'",
    "trainer.max_epochs=1",
    "+trainer.min_steps=9",
    "+trainer.barebones=true",
    "trainer.check_val_every_n_epoch=1",
    "trainer.use_distributed_sampler=true",
    "+trainer.reload_dataloaders_every_n_epochs=1",
    "+trainer.enable_checkpointing=false",
    "+trainer.callbacks=[]",
    "+trainer.logger=false",
    "+trainer.accumulate_grad_batches=0",
    "+trainer.accumulate_grad_batches=1.5",
]


@pytest.mark.parametrize("option", SMOKE)
def test_options_that_would_leave_part_of_a_run_out_are_refused(option: str, tmp_path: Path) -> None:
    key = option.lstrip("+").partition("=")[0].replace(".", r"\.")
    with pytest.raises(ValueError, match=rf"{key}=.*: choose "):
        check_values(small(tmp_path / "run", *TINY, option), "train")


@pytest.mark.parametrize("option", ["trainer.max_steps=2", "trainer.val_check_interval=1"])
def test_options_that_follow_the_recipe_are_not_set_themselves(option: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set recipe\..*, which it follows"):
        train(small(tmp_path / "run", *TINY, option))
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "base").exists()


@pytest.mark.slow
def test_other_options_of_the_trainer_work(finished: Path, tmp_path: Path) -> None:
    options = [
        "+trainer.enable_progress_bar=false",
        "trainer.enable_model_summary=true",
        "trainer.log_every_n_steps=0",
        "+trainer.detect_anomaly=true",
        "+trainer.profiler=simple",
        "+trainer.limit_val_batches=1.0",
    ]
    metrics = train(small(tmp_path / "run", *TINY, *options))
    record = json.loads((finished / "results.json").read_text())
    assert metrics["loss"] == record["metrics"]["final"]["loss"]


def test_what_was_measured_of_the_base_in_part_is_measured_anew(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(finished.parent / "base", tmp_path / "base")
    (kept,) = (tmp_path / "base").iterdir()
    state = load_file(kept)
    save_tensors(state | {"losses": state["losses"][:8]}, kept)
    train(small(tmp_path / "run", *TINY, "method=frozen"))
    assert "has another number of samples" in caplog.text
    assert load_file(kept)["losses"].shape == state["losses"].shape


def test_the_log_names_the_run_that_is_resumed(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dmp_lightning.commands.train"):
        train(small(run_dir, *TINY, "resume=latest"))
    assert f"Resuming {run_dir} from step-4.ckpt." in caplog.text


def test_a_csv_of_the_users_is_not_gone_on_with(run_dir: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "numbers.csv"
    theirs.write_text("my,numbers\n1,2\n")
    for more in (["resume=latest"], [f"run_dir={tmp_path}/new"]):
        with pytest.raises(ValueError, match=r"logger\.csv\.path=.*numbers\.csv exists, but not from this run"):
            train(small(run_dir, *TINY, f"logger.csv.path={theirs}", *more))
    assert theirs.read_text() == "my,numbers\n1,2\n"
