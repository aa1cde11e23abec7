"""The command as people type it: in processes of its own, from any folder, from a wheel."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests import processes
from tests.configs import SMALL, random_base

ROOT = Path(__file__).parents[2]
FULL_SIZE = {  # parameters of the base and of the patch, and its share, as the design says
    "ffhq_dit_l2": ("457,078,816", "6,554,112", "1.434%"),
    "ffhq_dit_b2": ("129,744,416", "2,556,416", "1.970%"),
    "imagenet_dit_xl2": ("675,129,632", "8,552,960", "1.267%"),
    "ffhq_dit_l2_pretrain": ("457,078,816", "456,816,672", "99.943%"),
}


def command(*arguments: str, folder: Path, python: str = sys.executable) -> subprocess.CompletedProcess:
    """Run the train command in `folder`, with nothing to ask and nobody's settings."""
    environment = os.environ | {"HOME": str(folder), "WANDB_MODE": "offline"}
    line = [python, "-m", "dmp_lightning.train", *arguments]
    return subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600
    )


def test_ctrl_c_while_a_command_starts_ends_it_in_one_line(tmp_path: Path) -> None:
    line = "from dmp_lightning.commands.door import entry_point; import signal\n"
    line += "entry_point('report')(lambda config: signal.raise_signal(signal.SIGINT))()"
    ended = subprocess.run([sys.executable, "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "Interrupted.\n")


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (
            ["+experiment=ffhq_dit_l2"],
            [
                "no latents at data/ffhq-256",
                "dmp_lightning.encode",
                "no VAE at",
                "no Inception-v3 weights",
                "backbone.weights",
            ],
        ),
        (["recipe.max_step=1"], ["The config has no recipe.max_step. Did you mean max_steps?"]),
        (["method=dpm"], ["There is no method=dpm. Did you mean dmp?"]),
        (["+experiment=ffhq_dit"], ["There is no experiment=ffhq_dit. Did you mean ffhq_dit_l2?"]),
        (["+experimnt=ffhq_dit_l2"], ["+experimnt is neither a group nor a key of this command.", "experiment?"]),
        (["recipe.optimizer._target_=os.system"], ["A config may not build recipe.optimizer._target_=os.system"]),
        (["resume=latest"], ["runs/digits has no checkpoint to resume"]),
    ],
    ids=["files", "key", "method", "experiment", "group", "target", "resume"],
)
def test_a_mistake_is_told_without_a_stack(arguments: list[str], sentences: list[str], tmp_path: Path) -> None:
    result = processes.command(tmp_path, arguments)
    assert result.code == 1
    assert "Traceback" not in result.stderr
    for sentence in sentences:
        assert sentence in result.stderr
    assert not list(tmp_path.rglob("*.safetensors")) + list(tmp_path.rglob("results.json"))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", FULL_SIZE)
def test_a_dry_run_of_a_full_size_model(experiment: str, tmp_path: Path) -> None:
    result = command(f"+experiment={experiment}", "+mode=dry_run", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    base, trained, share = FULL_SIZE[experiment]
    assert f"Base: {base} parameters." in result.stdout
    assert f"trains {trained} ({share} of the base)" in result.stdout
    (record,) = tmp_path.rglob("results.json")
    assert json.loads(record.read_text())["metrics"]["final"]["peak_memory_mib"] < 12 * 1024
    if not experiment.endswith("pretrain"):
        (patch,) = tmp_path.rglob("patch.safetensors")
        (checkpoint,) = tmp_path.rglob("step-2.ckpt")
        assert patch.stat().st_size == pytest.approx(4 * int(trained.replace(",", "")), rel=1e-3)
        assert checkpoint.stat().st_size < 4 * patch.stat().st_size  # weights, two moments of Adam, the gate's noise
    if experiment == "ffhq_dit_l2":
        assert patch.stat().st_size < 30e6


@pytest.mark.slow
def test_a_multirun_is_one_run_each(tmp_path: Path) -> None:
    save_file(random_base(), tmp_path / "base.safetensors")
    axes = ["method=dmp,prompt_tuning,full_finetune,frozen", "seed=1,2,3"]
    result = command("-m", *SMALL, f"backbone.weights={tmp_path}/base.safetensors", *axes, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("results.json")]
    assert len({(record["method"]["label"], record["seeds"]["training"]) for record in records}) == 12
    runs = {path.stem for path in tmp_path.rglob("run-*.wandb")}
    assert len(runs) == 12


@pytest.mark.slow
def test_a_sweep_resumes_each_job_in_its_own_folder(tmp_path: Path) -> None:
    save_file(random_base(), tmp_path / "base.safetensors")
    sweep = ["-m", *SMALL, "logger=csv", f"backbone.weights={tmp_path}/base.safetensors", "seed=1,2"]
    assert command(*sweep, folder=tmp_path).returncode == 0
    first, second = sorted(path.parent for path in tmp_path.rglob("metrics.csv"))
    expected = {run: (run / "metrics.csv").read_bytes() for run in (first, second)}
    shutil.rmtree(second)  # as if the sweep had been killed in its first job
    assert command(*sweep, "resume=latest", folder=tmp_path).returncode == 0
    assert {path.parent: path.read_bytes() for path in tmp_path.rglob("metrics.csv")} == expected
    assert (second / "results.json").exists()


@pytest.mark.parametrize("name", ["train", "encode", "sample", "evaluate", "export", "report"])
def test_each_console_command_is_what_its_module_runs(name: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert len(scripts) == 6
    module, _, function = scripts[f"dmp-{name}"].partition(":")
    assert module == f"dmp_lightning.{name}"
    assert callable(getattr(importlib.import_module(module), function))
    assert (ROOT / "src" / f"{module.replace('.', '/')}.py").read_text().endswith(f"\n    {function}()\n")


@pytest.mark.slow
def test_it_works_from_a_wheel_in_another_environment(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "build", "--wheel", "-o", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True)
    packages = next((tmp_path / "env").glob("lib/*/site-packages"))
    # The dependencies of this environment, but not the checkout that it has installed.
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "dependencies.pth").write_text(f"import sys; sys.path.append({here!r})\n")
    elsewhere = tmp_path / "with a space"
    elsewhere.mkdir()
    for name in ("train", "encode", "sample", "evaluate", "export", "report"):
        line = [str(Path(python).with_name(f"dmp-{name}")), "--help"]
        helped = subprocess.run(line, cwd=elsewhere, capture_output=True, text=True, check=True)
        assert helped.stdout.startswith(f"dmp-{name}: ")
    options = [option for option in SMALL if not option.startswith("controls")]
    result = command(*options, folder=elsewhere, python=python)
    assert result.returncode == 0, result.stderr
    (record,) = elsewhere.rglob("results.json")
    assert json.loads(record.read_text())["commit"].startswith("dmp_lightning ")
    assert "committed" in result.stdout


@pytest.mark.slow
def test_resume_latest_goes_on_in_the_same_folder_and_run(tmp_path: Path) -> None:
    save_file(random_base(), tmp_path / "base.safetensors")
    # At a constant rate: a schedule that has ended is not gone beyond.
    options = [*SMALL, f"backbone.weights={tmp_path}/base.safetensors", "recipe.lr_scheduler=null"]
    first = command(*options, "recipe.max_steps=3", folder=tmp_path)
    second = command(*options, "resume=latest", folder=tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    (run,) = (path for path in (tmp_path / "runs" / "digits").iterdir() if path.name != "base")
    assert json.loads((run / "results.json").read_text())["config"]["resume"] == "latest"
    assert (run / "checkpoints" / "step-6.ckpt").exists()
    assert len(list(run.rglob("metrics.csv"))) == 1
    assert len({path.stem for path in run.rglob("run-*.wandb")}) == 1
