"""What goes wrong is told in one sentence, in seconds, with a non-zero exit code, and nothing half-written."""

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dmp_lightning.files import UNFINISHED
from dmp_lightning.metrics.features import INCEPTION_FILE
from tests.configs import SMALL, random_base
from tests.data.test_latents import approve, change_store, write_store
from tests.metrics.conftest import random_network
from tests.processes import ENVIRONMENT, Result, command

Prepare = Callable[[Path], list[str]]
RESULTS = (".json", ".csv", ".safetensors", ".ckpt", ".png", ".npy", ".pt")


class Evil:
    """A pickle that would make a folder where it is loaded."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("executed",)


def base_file(folder: Path) -> Path:
    path = folder / "base.safetensors"
    save_file(random_base(), path)
    return path


def weights(write: Callable[[Path], None], name: str = "weights.pt", *more: str) -> Prepare:
    """A base's weights, as `write` writes them into the file."""

    def prepare(folder: Path) -> list[str]:
        write(folder / name)
        return [f"backbone.weights={name}", *more]

    return prepare


def checkpoint(write: Callable[[Path], None]) -> Prepare:
    """A checkpoint to resume, as `write` writes it into the file."""

    def prepare(folder: Path) -> list[str]:
        path = folder / "runs" / "old" / "checkpoints" / "step-3.ckpt"
        path.parent.mkdir(parents=True)
        write(path)
        return [f"resume={path.relative_to(folder)}"]

    return prepare


def trained(*options: str, resume: tuple[str, ...] = ()) -> Prepare:
    """A run with `options`, then the same run with `resume`."""

    def prepare(folder: Path) -> list[str]:
        save_file({name: 2 * value for name, value in random_base().items()}, folder / "other.safetensors")
        first = command(folder, [*SMALL, "logger=csv", "backbone.weights=base.safetensors", *options])
        assert first.code == 0, first.stderr
        return ["resume=latest", *resume]

    return prepare


def latents(change: Callable[[Path], None]) -> Prepare:
    """A store of latents, changed."""

    def prepare(folder: Path) -> list[str]:
        write_store(folder / "store")
        change(folder / "store")
        return [
            "data=ffhq",
            "data.train.folder=store",
            "data.train.vae=store/vae",
            "data.workers=0",
            "recipe.batch_size=4",
            "backbone=dit_s2",
            "backbone.weights=null",
            "backbone.model.input_size=8",
            "backbone.model.depth=1",
        ]

    return prepare


def change_vae(store: Path) -> None:
    """Move all decoded pixels a little."""
    path = store / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["decoder.conv_out.bias"] += 0.1
    save_file(weights, path)


def inception(write: Callable[[Path], object]) -> Prepare:
    """Inception's weights, as `write` writes them into the file of the right name."""

    def prepare(folder: Path) -> list[str]:
        write(folder / INCEPTION_FILE)
        return ["features=inception", f"features.weights={INCEPTION_FILE}"]

    return prepare


def given(*overrides: str) -> Prepare:
    """Nothing but options."""
    return lambda folder: list(overrides)


def users_files(folder: Path) -> Path:
    """A folder with files whose names are ours."""
    for name in ("metrics.csv", "evidence.safetensors", "patch.safetensors", "results.json", "figures/samples.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml.json").write_text("mine")
    return folder


FAULTS: dict[str, tuple[Prepare, str]] = {
    "no weights": (given("backbone.weights=none.pt"), "no weights of the base at none.pt"),
    "empty weights": (weights(Path.touch), "weights.pt is not a readable weights file"),
    "truncated weights": (
        weights(lambda path: path.write_bytes(base_file(path.parent).read_bytes()[:9000]), "weights.safetensors"),
        "weights.safetensors is not a readable weights file",
    ),
    "weights of another width": (given("backbone.model.width=64"), "but the config has backbone.model.width=64"),
    "weights of another depth": (given("backbone.model.depth=4"), "but the config has backbone.model.depth=4"),
    "weights of another class count": (given("backbone.model.num_classes=10"), "the backbone needs"),
    "pickled weights that run code": (
        weights(lambda path: path.write_bytes(pickle.dumps(Evil()))),
        "it holds more than tensors",
    ),
    "weights of strings": (weights(lambda path: torch.save({"a": "b"}, path)), "must map names to tensors"),
    "no checkpoint": (given("resume=none.ckpt"), "no checkpoint at none.ckpt"),
    "no latest checkpoint": (given("resume=latest"), "runs/digits has no checkpoint to resume"),
    "empty checkpoint": (checkpoint(Path.touch), "step-3.ckpt is damaged"),
    "truncated checkpoint": (
        checkpoint(lambda path: path.write_bytes(b"PK\x03\x04" + bytes(5000))),
        "step-3.ckpt is damaged",
    ),
    "checkpoint that runs code": (checkpoint(lambda path: torch.save(Evil(), path)), "holds more than tensors"),
    "checkpoint of another method": (
        trained(resume=("method=prompt_tuning",)),
        "method._target_ was dmp_lightning.methods.DMP, now dmp_lightning.methods.PromptTuning",
    ),
    "checkpoint of another depth": (
        trained(resume=("method.injection=first:2",)),
        "method.injection was all, now first:2",
    ),
    "checkpoint of another base": (
        trained(resume=("backbone.weights=other.safetensors",)),
        "trained on another base",
    ),
    "an earlier run in the folder": (
        lambda folder: trained("hydra.run.dir=here")(folder) and ["hydra.run.dir=here"],
        "here holds an earlier run",
    ),
    "latents of another shape": (
        latents(lambda store: change_store(store, lambda moments: moments[..., :4])),
        "a.safetensors has shape",
    ),
    "latents of another type": (
        latents(lambda store: change_store(store, lambda moments: moments.astype(np.int64))),
        "a.safetensors holds torch.int64",
    ),
    "latents of objects": (
        latents(lambda store: (store / "a.safetensors").write_bytes(pickle.dumps(Evil())) and approve(store)),
        "a.safetensors cannot be read as latents",
    ),
    "NaN in latents": (
        latents(lambda store: change_store(store, lambda moments: moments * np.float16(np.nan))),
        "is not finite in store",
    ),
    "missing shard": (latents(lambda store: (store / "a.safetensors").unlink()), "is missing: restore it"),
    "cut shard": (latents(lambda store: os.truncate(store / "a.safetensors", 5000)), "a.safetensors is damaged"),
    "no data folder": (given("data=ffhq"), "There are no latents at data/ffhq-256"),
    "empty data folder": (
        lambda folder: [(folder / "e").mkdir() or "data=ffhq", "data.train.folder=e"],
        "latents at e",
    ),
    "unknown method": (given("method=dpm"), "There is no method=dpm. Did you mean dmp?"),
    "unknown gate": (given("gate=liner"), "There is no gate=liner. Did you mean linear?"),
    "unknown experiment": (given("+experiment=ffhq_dit"), "Did you mean ffhq_dit_l2?"),
    "unknown key": (given("recipe.max_step=1"), "no recipe.max_step. Did you mean max_steps?"),
    "top-k of 0": (given("gate.top_k=0.0"), "gate.top_k=0.0: choose a number above 0, up to 1."),
    "top-k above 1": (given("gate.top_k=1.5"), "gate.top_k=1.5: choose a number above 0, up to 1."),
    "another VAE": (
        latents(change_vae),
        "vae is not the one that made the latents in store: set data.train.vae to that one.",
    ),
    "prompt count that does not fit": (
        given("method.prompt_count=7"),
        "method.prompt_count=7 does not fit 16 tokens: choose 1, 4, 16 or a multiple of 16.",
    ),
    "balance of nothing": (
        given("method.balance=null"),
        "method.balance=null: choose released, or weights of importance",
    ),
    "balance without a weight": (
        given("gate=topk", "~method.balance.load"),
        "method.balance={importance: 1.0}: choose released, or weights of importance and load",
    ),
    "negative weight of balance": (given("method.balance.importance=-1"), "each a number from 0"),
    "unknown balance": (given("method.balance=relaesed"), "method.balance=relaesed: choose released"),
    "block out of range": (given("method.injection=[0,3]"), "injection=[0, 3]: name blocks from 0 to 2"),
    "guidance without a null label": (
        given("evaluation.guidance.guidance_scale=2.0"),
        "needs a null label, which this model lacks",
    ),
    "batch larger than the data": (given("recipe.batch_size=2000"), "choose 1 to 1437, the number"),
    "no samples": (given("evaluation.samples=0"), "evaluation.samples=0"),
    "one sample": (given("evaluation.samples=1"), "evaluation.samples=1"),
    "sampler steps above the schedule": (given("sampler.steps=2000"), "sampler.steps=2000 does not fit a schedule"),
    "negative rate": (given("recipe.learning_rates.prompts=-1e-4"), "recipe.learning_rates.prompts=-0.0001"),
    "scaled rate of no group": (
        given("recipe.rates_times_prompt_count=[prompt]"),
        "recipe.rates_times_prompt_count=['prompt']: choose a list from [prompts, gate, backbone, lora, adaln].",
    ),
    "rate that diverges": (
        given("recipe.learning_rates.prompts=1e30", "recipe.lr_scheduler=null"),
        "is not finite at",
    ),
    "unknown type of weights": (given("backbone.dtype=float16"), "backbone.dtype=float16: choose float32 or bfloat16."),
    "rounded weights to be trained": (
        given("backbone.dtype=bfloat16", "method=full_finetune"),
        "is for frozen weights",
    ),
    "clipping under a fused optimiser": (
        given("recipe.optimizer.fused=true", "trainer.gradient_clip_val=1", "trainer.precision=bf16-mixed"),
        "set recipe.optimizer.fused=null",
    ),
    "unknown matmul precision": (
        given("matmul_precision=low"),
        "matmul_precision=low: choose highest, high or medium.",
    ),
    "no Inception weights": (given("features=inception"), "Inception-v3"),
    "damaged Inception weights": (
        inception(lambda path: path.write_bytes(b"x")),
        f"{INCEPTION_FILE} is damaged or another file (SHA-256",
    ),
    "Inception weights of another training": (
        inception(lambda path: torch.save(random_network().state_dict(), path)),
        f"{INCEPTION_FILE} is damaged or another file (SHA-256",
    ),
    "W&B key demanded": (given("logger=wandb_csv"), "no W&B key is configured"),
    "run folder is a file": (
        lambda folder: [(folder / "file").write_text("x") and "hydra.run.dir=file/run"],
        "file",
    ),
    "a folder of the user's": (
        lambda folder: [users_files(folder / "mine") and "hydra.run.dir=mine"],
        "mine holds files that dmp-lightning did not write (evidence.safetensors, figures, metrics.csv and 2 more): "
        "choose a new",
    ),
    "a folder of the user's for a job": (
        lambda folder: [users_files(folder / "mine") and "hydra.sweep.subdir=mine", "hydra.sweep.dir=.", "-m"],
        "or an empty folder with hydra.sweep.dir=",
    ),
    "a name that leaves its folder": (given("name=../../escape"), "name='../../escape' cannot be the name of a folder"),
    "a sweep's name that does": (
        given("+sweep=seeds", "sweep.name=.."),
        "sweep.name='..' cannot be the name of a folder",
    ),
    "a checkpoint for a whole sweep": (given("resume=a.ckpt", "-m"), "resume a sweep with resume=latest"),
    "no sweep to resume": (given("resume=latest", "-m"), "runs/digits has no sweep to resume"),
    "mode before the experiment": (
        given("+mode=dry_run", "+experiment=ffhq_dit_l2"),
        "Put +mode=... after +experiment=...",
    ),
    "an optimiser that refuses its arguments": (
        given("recipe.optimizer._target_=torch.optim.SGD", "+recipe.optimizer.nesterov=true"),
        "recipe.optimizer or recipe.lr_scheduler cannot be built: Nesterov momentum",
    ),
    "a key that the method does not read": (
        given("method=lora", "gate.top_k=0.5"),
        "gate.top_k has no effect here: method=LoRA has no gate",
    ),
    "a sweep over what the method does not read": (
        given("+sweep=gate_type", "method=lora"),
        "gate has no effect here: method=LoRA has no gate",
    ),
    "a wrong value in the middle of a sweep": (
        given("seed=1,2", "recipe.max_steps=4,abc", "-m"),
        "recipe.max_steps=abc: choose a whole number from 1.",
    ),
    "a name that refers to nothing": (given("name=${foo}"), "'foo' not found"),
    "a name that refers to itself": (given("name=${name}"), "(See name=${name}.)"),
    "a value that cannot be read": (given("recipe.max_steps=1=2"), """'recipe.max_steps='"'"'1=2'"'"''"""),
    "a path with an equals sign": (
        given("backbone.weights=epoch=1-step=8.pt"),
        "no weights of the base at epoch=1-step=8.pt",
    ),
    "foreign code in the config": (given("recipe.optimizer._target_=os.system"), "A config may not build"),
}


LONG = {
    "a sweep over what the method does not read",
    "a wrong value in the middle of a sweep",
    "an earlier run in the folder",
    "batch larger than the data",
    "checkpoint of another base",
    "checkpoint of another method",
    "checkpoint of another depth",
    "guidance without a null label",
    "Inception weights of another training",
    "latents of another shape",
    "latents of objects",
    "missing shard",
    "NaN in latents",
    "no data folder",
    "no weights",
    "pickled weights that run code",
    "rate that diverges",
    "sampler steps above the schedule",
    "truncated weights",
    "weights of another depth",
    "weights of another width",
    "weights of strings",
}
"""Faults that are told late, of whose kinds there are others."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in FAULTS])
def test_a_fault_is_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    prepare, sentence = FAULTS[name]
    base_file(tmp_path)
    overrides = prepare(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix in RESULTS}
    result = command(tmp_path, [*SMALL, "logger=csv", "backbone.weights=base.safetensors", *overrides])
    check(result, sentence)
    assert not (tmp_path / "executed").exists()
    assert not list(tmp_path.rglob(f"*{UNFINISHED}")) + list(set(tmp_path.rglob("patch*.safetensors")) - before.keys())
    for path, content in before.items():
        assert path.read_bytes() == content


def check(result: Result, sentence: str) -> None:
    assert result.code == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert sentence in result.stderr.partition("error: ")[2]
    assert "Error executing job" not in result.stderr


def test_the_stack_is_shown_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    result = command(tmp_path, ["gate.top_k=0.0"])
    assert result.code == 1
    assert "Traceback" in result.stderr


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        base_file(tmp_path)
        options = ["method=full_finetune", "hydra.run.dir=disk/run", "base_results=base", "logger=csv"]
        result = command(tmp_path, [*SMALL, "backbone.weights=base.safetensors", *options])
        check(result, "cannot be written")
        assert not list(disk.rglob(f"*{UNFINISHED}"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    from filelock import FileLock

    base_file(tmp_path)
    (tmp_path / "here").mkdir()
    with FileLock(tmp_path / "here" / ".lock"):
        result = command(tmp_path, [*SMALL, "backbone.weights=base.safetensors", "hydra.run.dir=here"])
    check(result, "Another run is using ")


def test_slurm_off_a_cluster_is_told_before_anything_is_queued(tmp_path: Path) -> None:
    result = command(tmp_path, ["launcher=slurm"], ENVIRONMENT | {"PATH": str(tmp_path)})
    check(result, "there is no srun here")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_spaces_and_other_alphabets_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    folder = tmp_path / "Füße und 猫"
    folder.mkdir()
    base_file(folder)
    run = ["name='Größe 1'", f"backbone.weights='{folder}/base.safetensors'", "label='тест'", "logger=csv"]
    result = command(folder, [*SMALL, *run])
    assert result.code == 0, result.stderr
    assert "тест" in next(folder.rglob("results.json")).read_text(encoding="utf-8")
