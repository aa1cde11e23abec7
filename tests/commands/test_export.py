"""The export command: what it writes is the patch of the run, and goes onto its own base alone."""

from pathlib import Path

import pytest
import torch

from dmp_lightning.commands.build import build_backbone
from dmp_lightning.commands.export import export
from dmp_lightning.commands.train import train
from dmp_lightning.methods import read_patch
from tests.configs import SMALL, config, patched, random_base, small


@pytest.fixture(scope="module", params=[pytest.param(None, marks=pytest.mark.slow), 0.5], ids=["weights", "averages"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a run, and the options that made it."""
    folder = tmp_path_factory.mktemp("runs")
    ema = [f"recipe.ema_decay={request.param or 'null'}"]
    train(small(folder / "run", *ema))
    return folder / "run", [*SMALL, *ema, f"backbone.weights={folder / 'base.safetensors'}"]


def exported(run: tuple[Path, list[str]], output: Path, *overrides: str) -> Path:
    checkpoint = next((run[0] / "checkpoints").glob("step-6.ckpt"))
    return export(config(*run[1], f"checkpoint={checkpoint}", f"output={output}", *overrides, name="export"))


def test_a_checkpoint_exports_the_patch_that_its_run_wrote(run, tmp_path: Path) -> None:
    ours, theirs = read_patch(exported(run, tmp_path / "patch.safetensors")), read_patch(run[0] / "patch.safetensors")
    assert ours.base == theirs.base
    known = {"loss_before", "loss_after", "loss_change"}  # to the run alone, which measured them
    training = {name: value for name, value in theirs.about["training"].items() if name not in known}
    assert (ours.about, known < theirs.about["training"].keys()) == (theirs.about | {"training": training}, True)
    assert training["steps"] == 6
    assert ours.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(ours.tensors[name], value) for name, value in theirs.tensors.items())
    method = patched(build_backbone(config(*run[1])), tmp_path / "patch.safetensors")
    assert torch.equal(method.state_dict()["mixture.prompts"], theirs.tensors["mixture.prompts"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backbone.weights=null"], "trained on another base"),
        (["method=prompt_tuning"], "another method or options"),
        (["method.injection=first:1"], r"mixture\.prompts differs"),
        (["checkpoint=null"], "nothing to export"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(run, tmp_path: Path, overrides, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exported(run, tmp_path / "patch.safetensors", *overrides)
    assert not list(tmp_path.iterdir())


def test_on_another_base_it_is_refused(run, tmp_path: Path) -> None:
    patch = exported(run, tmp_path / "patch.safetensors")
    other = build_backbone(config(*run[1]))
    other.load_state_dict(random_base() | {"final_layer.linear.bias": torch.ones(8)})
    with pytest.raises(ValueError, match=r"patch\.safetensors was trained on another base"):
        patched(other, patch)
