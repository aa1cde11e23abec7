"""The sample command: its pictures are those of the model's own samples, whatever else is drawn."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from dmp_lightning.commands.build import build_backbone
from dmp_lightning.commands.sample import sample
from dmp_lightning.condition import Condition
from dmp_lightning.data.pixels import to_uint8
from dmp_lightning.draws import Stream, generators, normal
from dmp_lightning.methods import load_patch, save_patch
from dmp_lightning.methods.patches import fingerprint
from tests.configs import config, patch_of_digits

QUICK = ["sampler.steps=4", "trainer.accelerator=cpu", "samples=5", "evaluation.batch_size=3"]


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


def run(output: Path, *overrides: str) -> Path:
    return sample(config(*QUICK, f"run_dir={output}", *overrides, name="sample"))


def test_pictures_are_the_samples_of_the_patched_model(tmp_path: Path) -> None:
    patch = patch_of_digits(tmp_path)
    found = pictures(run(tmp_path / "out", f"patch={patch}", "seeds=[3]") / "patched" / "seed-3")
    settings = config(*QUICK, name="sample")
    method = load_patch(instantiate(settings.method)(backbone=build_backbone(settings)), patch).eval()
    sources = generators(3, Stream.GENERATION, range(5))

    def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return method(x, t, Condition(torch.zeros_like(t))).output

    process = instantiate(settings.diffusion)
    samples = instantiate(settings.sampler).sample(model, process, normal(sources, (1, 8, 8)), sources)
    difference = np.stack(found).astype(int) - to_uint8(samples).squeeze(1).numpy()
    assert np.abs(difference).max() <= 1  # a batch of another size may round otherwise


def test_compare_draws_both_from_the_same_noise_and_strength_zero_is_the_base(tmp_path: Path) -> None:
    patch = patch_of_digits(tmp_path)
    base = pictures(run(tmp_path / "base", "seeds=[0,1]") / "base" / "seed-1")
    both = run(tmp_path / "both", f"patch={patch}", "compare=true", "seeds=[1]")
    zero = run(tmp_path / "zero", f"patch={patch}", "strength=0", "seeds=[1]")
    patched = pictures(both / "patched" / "seed-1")
    assert len(base) == 5
    assert np.array_equal(pictures(both / "base" / "seed-1"), base)
    assert np.array_equal(pictures(zero / "patched" / "seed-1"), base)
    assert not np.array_equal(patched, base)
    assert Image.open(both / "seed-1.png").size[0] > 100
    assert not list(tmp_path.rglob("*.unfinished"))


def test_the_grid_holds_each_picture_enlarged(tmp_path: Path) -> None:
    folder = run(tmp_path / "out")
    grid = np.asarray(Image.open(folder / "seed-0.png"))
    assert grid.shape == (2 * 66, 3 * 66)
    assert np.array_equal(grid[67:131:8, 67:131:8], pictures(folder / "base" / "seed-0")[4])
    assert (grid[66:, 132:] == 255).all()


def test_each_sample_has_the_class_that_its_name_says(tmp_path: Path) -> None:
    model = ["backbone.weights=null", "backbone.model.num_classes=10", "backbone.model.class_dropout_prob=0.1"]
    folder = run(tmp_path / "out", *model, "classes=[7,2]", "evaluation.guidance.guidance_scale=2.0")
    names = [path.stem for path in sorted((folder / "base" / "seed-0").glob("*.png"))]
    assert names == ["00000_class-7", "00001_class-2", "00002_class-7", "00003_class-2", "00004_class-7"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["strength=0.5"], r"strength=0\.5 needs a patch: set patch=FILE or run=FOLDER"),
        (["compare=true"], "compare=true needs a patch"),
        (["patch=nowhere.safetensors"], "no patch at nowhere"),
        (["classes=[1]"], r"classes=\[1\]: name labels from 0 to 0"),
        (["evaluation.guidance.guidance_scale=2.0"], "needs a null label, which this model lacks"),
        (["sampler.steps=5000"], "does not fit a schedule"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(tmp_path / "out", *overrides)
    assert not (tmp_path / "out").exists()


def test_a_patch_builds_nothing_but_methods(tmp_path: Path) -> None:
    backbone = build_backbone(config())
    about = {"method": {"_target_": "diffusers.AutoencoderKL.from_pretrained", "_partial_": True}}
    for text, message in ((about, "from_pretrained is not known here"), ({}, "does not name its method")):
        save_patch({}, tmp_path / "evil.safetensors", fingerprint(backbone), text)
        with pytest.raises(ValueError, match=message):
            run(tmp_path / "out", f"patch={tmp_path}/evil.safetensors")


def test_the_command_knows_the_keys_of_training_and_its_own(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "dmp_lightning.sample", "+sampels=3"]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert "+sampels is neither a group nor a key of this command. Did you mean samples?" in result.stderr
