"""From a folder of pictures and a DiT to a patch, by the nine commands of docs/own_images.md as they are typed."""

import json
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

from dmp_lightning.backbones import DiT
from dmp_lightning.methods import read_patch
from dmp_lightning.metrics import own_pictures
from tests.processes import Result, command

PAGE = Path(__file__).parents[2] / "docs" / "own_images.md"
SAMPLING = ["evaluation.samples=80", "evaluation.batch_size=40", "sampler.steps=2", "trainer.accelerator=cpu"]
TRAINING = [
    *SAMPLING,
    "evaluation.strata=1",
    "evaluation.shown=4",
    "recipe.max_steps=2",
    "recipe.validate_every=2",
    "recipe.checkpoint_every=2",
    "logger=csv",
]
SHORTER = {"train": TRAINING, "sample": ["samples=4"], "evaluate": ["trainer.accelerator=cpu"]}
"""What is added to each command, so that it takes seconds; with `run=` the rest is the run's."""


def commands() -> list[list[str]]:
    """Each command of the page: its name, and its arguments."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [shlex.split(line.partition("dmp_lightning.")[2]) for block in blocks for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`pictures` of two photographs' parts, a `vae` and the weights `my_dit.safetensors`, which are random."""
    (tmp_path / "pictures").mkdir()
    chance = torch.Generator().manual_seed(0)
    for number in range(90):
        photograph = load_sample_images().images[number % 2]
        top, left = (int(torch.randint(side - 48, (), generator=chance)) for side in photograph.shape[:2])
        part = photograph[top : top + 40, left : left + 48]
        Image.fromarray(part).save(tmp_path / "pictures" / f"{number:02d}.{'png' if number % 2 else 'jpg'}")
    torch.manual_seed(0)
    AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 8],
        norm_num_groups=4,
        sample_size=32,
    ).save_pretrained(tmp_path / "vae")
    sizes = {"input_size": 16, "in_channels": 4, "patch_size": 4, "width": 64, "depth": 2, "heads": 1}
    base = DiT(**sizes, num_classes=1, class_dropout_prob=0.0)
    save_file(base.state_dict(), tmp_path / "my_dit.safetensors")
    return tmp_path


def quick() -> None:
    own_pictures.STEPS = 5


@pytest.mark.slow
def test_nine_commands_are_all_it_takes(folder: Path) -> None:
    told: dict[int, Result] = {}
    assert len(commands()) == 9
    for number, (name, *arguments) in enumerate(commands(), start=1):
        more = SAMPLING[2:] if name == "sample" and "run=latest" not in arguments else []
        given = arguments[:1] if name == "report" else arguments
        result = command(folder, [*given, *SHORTER.get(name, []), *more], prepare=quick, name=name)
        assert result.code == 0, f"{name} {arguments}: {result.stderr[-3000:]}"
        assert "Traceback" not in result.stderr
        told[number] = result
    assert "90 images" in told[1].stdout
    assert "is complete and undamaged" in told[2].stdout
    runs = sorted((folder / "runs" / "own_images").rglob("results.json"))
    assert len(runs) == 4
    for record in map(Path.read_text, runs):
        final = json.loads(record)["metrics"]["final"]
        assert math.isfinite(final["frechet_own_pictures"])
        assert math.isfinite(final["loss"])
    (both,) = (folder / "samples" / "own_images").glob("*/patched")
    assert len(list(both.rglob("*.png"))) == 4
    measured = json.loads((folder / "evaluations" / "own_images" / "results.json").read_text())["metrics"]
    assert math.isfinite(measured["patched"]["frechet_own_pictures"])
    assert (folder / "runs" / "own_images" / "report" / "report.html").is_file()
    last = max(folder.rglob("patch.safetensors"), key=lambda path: path.stat().st_mtime)
    shipped = read_patch(folder / "my_patch.safetensors")
    assert shipped.base == read_patch(last).base
    assert all(torch.equal(value, shipped.tensors[key]) for key, value in read_patch(last).tensors.items())
