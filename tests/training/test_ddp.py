"""Two processes train, sample and measure as one does, whatever they share and whoever started them."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from tests.configs import SMALL, random_base

OPTIONS = [
    "recipe.ema_decay=0.9",
    "gate.top_k=0.5",
    "logger=csv",
    "backbone.weights=base.safetensors",
    "evaluation.samples=61",  # a batch more on one process than on the other
]
TRAIN = ["-m", "dmp_lightning.train"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *TRAIN]
COMMANDS = {
    "ddp": [*TRAIN, "trainer=ddp", "trainer.devices=2"],
    "fsdp": [*TRAIN, "trainer=fsdp", "trainer.devices=2"],
    "torchrun": [*TORCHRUN, "trainer=ddp", "trainer.devices=2"],
}


def run(folder: Path, command: list[str]) -> dict[str, list[float]]:
    """The metrics of a run by name; `command` says over how many processes."""
    folder.mkdir(exist_ok=True)
    save_file(random_base(), folder / "base.safetensors")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(folder)}
    line = [sys.executable, *command, *SMALL, *OPTIONS]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Pictures, results.json and weights") == 1
    (path,) = folder.glob("runs/digits/2*/metrics.csv")
    rows = list(csv.DictReader(path.open()))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[float]]]:
    """One process, left alone."""
    folder = tmp_path_factory.mktemp("ddp") / "one"
    return folder, run(folder, TRAIN)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_two_processes_give_what_one_gives(
    command: str, one: tuple[Path, dict[str, list[float]]], tmp_path: Path
) -> None:
    folder, alone = one
    together = run(tmp_path, COMMANDS[command])
    assert together.keys() == alone.keys()
    for name, values in alone.items():
        # Differences, and variances that are nearly none, have cancelled: their scale is that of the losses, about 1.
        cancelled = name.endswith(("_low", "_high", "_mean", "/importance", "/load"))
        assert together[name] == pytest.approx(values, rel=1e-6, abs=1e-6 if cancelled else 1e-12), name
    runs = [next(path.glob("runs/digits/2*")) for path in (folder, tmp_path)]
    patches = [load_file(path / "patch.safetensors") for path in runs]
    for name, value in patches[0].items():
        assert_close(patches[1][name], value, rtol=1e-4, atol=1e-6)
    # Whole tensors under the same names and numbers: a run may go on under any other strategy.
    states = [torch.load(path / "checkpoints" / "step-6.ckpt", weights_only=True) for path in runs]
    alone_state, state = [(state["state_dict"], state["optimizer_states"][0]["state"]) for state in states]
    assert_close(state, alone_state, rtol=1e-3, atol=1e-5)
