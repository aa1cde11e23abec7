"""Training on models of diffusers: each family by the command's own functions, on tiny random models in a folder."""

from pathlib import Path

import pytest
from omegaconf import DictConfig
from safetensors.torch import load_file

from dmp_lightning.commands.train import train
from tests.backbones.tiny import TINY, build
from tests.configs import config

FLOW = ["diffusion=flow", "sampler=flow_euler"]
EPSILON = ["diffusion=scaled_linear", "sampler=unipc"]
V = ["diffusion=v", "sampler=unipc"]
LEARNED = ["diffusion=linear", "sampler=ddim"]
PROCESS = {
    "DiTTransformer2DModel": LEARNED,
    "PixArtTransformer2DModel": LEARNED,
    "UNet2DConditionModel": EPSILON,
    "HunyuanDiT2DModel": V,
    "CogVideoXTransformer3DModel": V,
}
SIZES = {
    "FluxTransformer2DModel": ["backbone.model.size=[8,8]", "features.shape=[1,8,8]"],
    "QwenImageTransformer2DModel": ["backbone.model.size=[8,8]"],
    "WanTransformer3DModel": ["backbone.model.size=[8,8]", "backbone.model.frames=3"],
}
SHORT = [
    "backbone=diffusers",
    "data=synthetic_conditions",
    "features=pixels",
    "features.shape=[3,8,8]",
    "evaluation.samples=4",
    "evaluation.batch_size=4",
    "evaluation.strata=2",
    "evaluation.shown=2",
    "sampler.steps=2",
    "recipe.batch_size=4",
    "recipe.max_steps=3",
    "recipe.validate_every=3",
    "recipe.checkpoint_every=3",
    "recipe.learning_rates.prompts=0.1",
    "controls=null",
    "logger=csv",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each family, where its tiny model will be."""
    return {name: tmp_path_factory.mktemp("models") / name for name in TINY}


def short(folders: dict[str, Path], name: str, run_dir: Path, *more: str) -> DictConfig:
    """The config of a run of three steps."""
    if not folders[name].exists():
        build(name).save_pretrained(folders[name])
    where = [f"backbone.path={folders[name]}", f"run_dir={run_dir}", f"base_results={run_dir.parent}/base"]
    return config(*SHORT, *PROCESS.get(name, FLOW), *SIZES.get(name, []), *where, *more)


@pytest.mark.parametrize("name", TINY)
def test_each_family_is_trained_by_the_command(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    metrics = train(short(folders, name, tmp_path / "run"))
    assert 0 < metrics["loss"] < 100
    assert metrics["loss_difference"] != 0
    tensors = load_file(tmp_path / "run" / "patch.safetensors")
    prompts = [value for key, value in tensors.items() if key.startswith("mixture.prompts")]
    assert all(value.any() for value in prompts)
