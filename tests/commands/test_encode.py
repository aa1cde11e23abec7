"""The encode command as people type it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dmp_lightning.data.latents.source import Latents
from tests import processes
from tests.data.test_encoding import make_vae
from tests.data.test_fashion_mnist import write_idx


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the encode command in `folder`, with nobody's settings and no network."""
    home = folder.with_name(f"{folder.name}-home")  # where what is imported keeps its caches
    environment = os.environ | {"HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "dmp_lightning.encode", *arguments]
    return subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
    )


@pytest.mark.slow
def test_idx_files_become_latents_that_the_command_then_finds_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(0)
    for prefix, count in (("train", 9), ("t10k", 3)):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", chance.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8))
    make_vae(tmp_path / "vae", 1)
    result = command(
        tmp_path, "source=.", "vae=vae", "out=store", "resolution=28", f"workers={(os.cpu_count() or 1) + 1}"
    )
    assert result.returncode == 0, result.stderr
    assert "12 images, 9 classes by the labels in the IDX files: 0 (2 images) to 8 (1 image)." in result.stdout
    assert "12/12" in result.stderr
    assert "DataLoader" not in result.stderr
    assert not (tmp_path / "outputs").exists()
    result = command(tmp_path, "verify=store")
    assert (result.returncode, result.stdout) == (0, "store is complete and undamaged: 12 latents in one shard.\n"), (
        result.stderr
    )
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))
    held_out = Latents(tmp_path / "store", False, tmp_path / "vae")
    assert (held_out.sample_shape, held_out.read(range(3)).condition.label.tolist()) == ((4, 14, 14), [0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Set either source= to the images to encode, or verify= to the latents to check."),
        (["source=a", "verify=b"], "Set either source= to the images"),
        (["source=a", "lables=none"], "The config has no lables. Did you mean labels?"),
        (["source=a", "data=imagnet"], "There is no data=imagnet. Did you mean imagenet?"),
        (["source=a"], "There is nothing at a: set source to where the images are."),
        (["verify=a"], "There is no a/manifest.json: verify= needs the folder of a complete store."),
    ],
)
def test_a_mistake_is_told_without_a_stack(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    result = processes.command(tmp_path, arguments, {"HF_HUB_OFFLINE": "1"}, name="encode")
    assert result.code == 1
    assert "Traceback" not in result.stderr
    assert f"error: {sentence}" in result.stderr
    assert not list(tmp_path.iterdir())
