"""Two processes train, sample and measure as one does."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from tests.configs import SMALL, random_base

OPTIONS = ["recipe.ema_decay=0.9", "gate.top_k=0.5", "logger=csv", "backbone.weights=base.safetensors"]


def run(folder: Path, devices: int, *options: str) -> dict[str, list[float]]:
    """The metrics of a run over so many processes, by name."""
    folder.mkdir()
    save_file(random_base(), folder / "base.safetensors")
    strategy = ["trainer.strategy=ddp", f"trainer.devices={devices}"] if devices > 1 else []
    line = [sys.executable, "-m", "dmp_lightning.train", *SMALL, *OPTIONS, *strategy, "hydra.run.dir=run", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Pictures, results.json and weights") == 1
    rows = list(csv.DictReader((folder / "run" / "metrics.csv").open()))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[float]]]:
    """One process, left alone."""
    folder = tmp_path_factory.mktemp("ddp") / "one"
    return folder, run(folder, 1)


def test_two_processes_give_what_one_gives(one: tuple[Path, dict[str, list[float]]], tmp_path: Path) -> None:
    folder, alone = one
    together = run(tmp_path / "two", 2)
    assert together.keys() == alone.keys()
    for name, values in alone.items():
        # Differences, and variances that are nearly none, have cancelled: their scale is that of the losses, about 1.
        cancelled = name.endswith(("_low", "_high", "_mean", "/importance", "/load"))
        assert together[name] == pytest.approx(values, rel=1e-6, abs=1e-6 if cancelled else 1e-12), name
    patches = [load_file(path / "run" / "patch.safetensors") for path in (folder, tmp_path / "two")]
    for name, value in patches[0].items():
        assert_close(patches[1][name], value, rtol=1e-4, atol=1e-6)
