"""Training on models of diffusers: each family by the command's own functions, on tiny random models in a folder."""

import json
import re
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import load_file

import dmp_lightning as dmp
from dmp_lightning.backbones import load_diffusers
from dmp_lightning.commands.build import build_backbone
from dmp_lightning.commands.evaluate import evaluate
from dmp_lightning.commands.export import export
from dmp_lightning.commands.sample import sample
from dmp_lightning.commands.train import train
from dmp_lightning.methods import read_patch
from tests.backbones.tiny import TINY, answer, build, call_of, others_slow
from tests.configs import config, patched

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
    "FluxTransformer2DModel": ["backbone.model.latent_size=[8,8]", "features.shape=[1,8,8]"],
    "QwenImageTransformer2DModel": ["backbone.model.latent_size=[8,8]"],
    "WanTransformer3DModel": ["backbone.model.latent_size=[8,8]", "backbone.model.frames=3"],
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
    "evaluation.guidance.guidance_scale=2",
    "evaluation.guidance.channels=all",
    "sampler.steps=2",
    "recipe.batch_size=4",
    "recipe.max_steps=3",
    "recipe.validate_every=3",
    "recipe.checkpoint_every=3",
    "recipe.learning_rates.prompts=0.1",
    "controls=null",
    "logger=csv",
    "trainer.accelerator=cpu",
    "+trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each family, where its tiny model will be."""
    return {name: tmp_path_factory.mktemp("models") / name for name in TINY}


def overrides(folders: dict[str, Path], name: str, run_dir: Path, *more: str) -> list[str]:
    """Of a run of three steps."""
    if not folders[name].exists():
        build(name).save_pretrained(folders[name])
    where = [f"backbone.path={folders[name]}", f"run_dir={run_dir}", f"base_results={run_dir.parent}/base"]
    return [*SHORT, *PROCESS.get(name, FLOW), *SIZES.get(name, []), *where, *more]


def short(folders: dict[str, Path], name: str, run_dir: Path, *more: str) -> DictConfig:
    """The config of such a run."""
    return config(*overrides(folders, name, run_dir, *more))


@pytest.mark.parametrize(
    "name", others_slow("PixArtTransformer2DModel", "FluxTransformer2DModel", "UNet2DConditionModel")
)
def test_each_family_is_trained_by_the_command(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    metrics = train(short(folders, name, tmp_path / "run"))
    assert 0 < metrics["loss"] < 100
    assert metrics["loss_difference"] != 0
    tensors = load_file(tmp_path / "run" / "patch.safetensors")
    prompts = [value for key, value in tensors.items() if key.startswith("mixture.prompts")]
    assert all(value.any() for value in prompts)


def test_nothing_is_said_of_modules_in_eval_mode(
    folders: dict[str, Path], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    train(short(folders, "SD3Transformer2DModel", tmp_path / "run"))
    assert not [each for each in recwarn if "eval mode" in str(each.message)]


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("SD3Transformer2DModel", "lora"),
        ("UNet2DConditionModel", "prompt_tuning"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("SD3Transformer2DModel", "prompt_tuning"),
                ("SD3Transformer2DModel", "full_finetune"),
                ("UNet2DConditionModel", "lora"),
                ("UNet2DConditionModel", "full_finetune"),
            )
        ),
    ],
)
def test_other_methods_train_as_well_and_their_files_load(
    folders: dict[str, Path], tmp_path: Path, name: str, method: str
) -> None:
    settings = short(folders, name, tmp_path / "run", f"method={method}", "recipe.learning_rates.lora=0.1")
    metrics = train(settings)
    assert metrics["loss_difference"] != 0
    base = load_diffusers(folders[name])
    model = patched(base, tmp_path / "run" / "patch.safetensors").eval()
    x = torch.randn(2, *base.sample_shape, generator=torch.Generator().manual_seed(0))
    condition = dmp.Condition(
        **{key: torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)) for key, shape in base.needs.items()}
    )
    t = torch.tensor([0.3, 0.7]) if base.predicts == "velocity" else torch.tensor([300, 700])
    plain = load_diffusers(folders[name])(x, t, condition)
    assert not torch.allclose(model(x, t, condition).output, plain, rtol=1e-3)
    assert torch.equal(base(x, t, condition), plain)


def test_a_patch_that_has_learned_nothing_gives_the_numbers_of_the_frozen_base(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    name, still = "SD3Transformer2DModel", ["recipe.learning_rates.prompts=0", "recipe.learning_rates.gate=0"]
    frozen = train(short(folders, name, tmp_path / "frozen" / "run", "method=frozen"))
    zero = train(short(folders, name, tmp_path / "zero" / "run", *still))
    assert zero["loss"] == frozen["loss"]
    assert zero["frechet_pixels"] == frozen["frechet_pixels"]
    assert zero["loss_difference"] == 0


def test_a_patch_goes_both_ways_between_the_command_and_python(folders: dict[str, Path], tmp_path: Path) -> None:
    name = "SD3Transformer2DModel"
    train(short(folders, name, tmp_path / "run"))
    path = tmp_path / "run" / "patch.safetensors"
    model = build(name)
    base = answer(model, call_of(name))
    patch = dmp.load(model, path)
    assert not torch.allclose(answer(model, call_of(name)), base, rtol=1e-3)
    patch.save(tmp_path / "again.safetensors")
    again = patched(load_diffusers(folders[name]), tmp_path / "again.safetensors")
    saved = load_file(path)
    assert all(torch.equal(value, saved[key]) for key, value in again.exported().items())


@pytest.mark.slow
def test_a_resumed_run_gives_what_an_uninterrupted_one_gives(folders: dict[str, Path], tmp_path: Path) -> None:
    name, constant = "UNet2DConditionModel", ["recipe.checkpoint_every=1", "recipe.lr_scheduler=null"]
    whole = train(short(folders, name, tmp_path / "whole" / "run", *constant))
    train(short(folders, name, tmp_path / "half" / "run", *constant, "recipe.max_steps=2"))
    resumed = train(short(folders, name, tmp_path / "half" / "run", *constant, "resume=latest"))
    assert (resumed["loss"], resumed["frechet_pixels"]) == (whole["loss"], whole["frechet_pixels"])


@pytest.mark.slow
def test_checkpointing_changes_no_number_and_a_base_in_bfloat16_keeps_its_patch_in_float32(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    name = "SD3Transformer2DModel"
    plain = train(short(folders, name, tmp_path / "plain" / "run"))
    checkpointing = train(short(folders, name, tmp_path / "less" / "run", "activation_checkpointing=true"))
    assert checkpointing["loss"] == plain["loss"]
    low = train(short(folders, name, tmp_path / "low" / "run", "backbone.dtype=bfloat16"))
    assert low["loss"] == pytest.approx(plain["loss"], rel=0.02)
    tensors = load_file(tmp_path / "low" / "run" / "patch.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float32}


@pytest.mark.parametrize("name", others_slow("UNet2DConditionModel"))
def test_a_run_leaves_a_map_of_the_gate(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Its weights are those of a pass at the same timesteps."""
    settings = short(folders, name, tmp_path / "run", "method.grid=2")
    train(settings)
    evidence = load_file(tmp_path / "run" / "evidence.safetensors")
    backbone = build_backbone(settings)
    patch = patched(backbone, tmp_path / "run" / "patch.safetensors").eval()
    seen: list[torch.Tensor] = []
    patch.mixture.gate.register_forward_hook(lambda _, args, gates: seen.append(gates.weights))
    t = evidence["gate_timesteps"][[0, 30, 99]]
    condition = instantiate(settings.data.train).read([0, 1, 2]).condition
    patch(torch.randn(3, *backbone.sample_shape), t, condition)
    torch.testing.assert_close(evidence["gate_weights"][:, [0, 30, 99]], seen[0])
    assert evidence["prompt_norms"].shape == evidence["gate_weights"].shape[::2]
    assert evidence["prompt_grid"].tolist() == [2, 2]
    assert (tmp_path / "run" / "figures" / "gates.png").is_file()


def test_the_other_commands_take_a_run_on_such_a_base(folders: dict[str, Path], tmp_path: Path) -> None:
    name, run = "SD3Transformer2DModel", tmp_path / "run"
    trained = train(short(folders, name, run))
    given = overrides(folders, name, tmp_path / "other", f"patch={run}/patch.safetensors")
    again = evaluate(config(*given, name="evaluate"))
    assert again["patched"]["frechet_pixels"] == pytest.approx(trained["frechet_pixels"], rel=1e-5)
    pictures = sample(config(*given, f"run_dir={tmp_path}/drawn", "compare=true", "samples=3", name="sample"))
    names = sorted(path.name for path in (pictures / "patched" / "seed-0").glob("*.png"))
    assert names == ["00000_text-0.png", "00001_text-1.png", "00002_text-2.png"]
    output = tmp_path / "exported.safetensors"
    from_checkpoint = [f"checkpoint={run}/checkpoints/step-3.ckpt", f"output={output}"]
    export(config(*overrides(folders, name, run, *from_checkpoint), name="export"))
    ours, theirs = read_patch(output), read_patch(run / "patch.safetensors")
    assert ours.base == theirs.base
    assert all(torch.equal(value, theirs.tensors[key]) for key, value in ours.tensors.items())


def test_what_makes_no_sense_or_is_missing_is_refused_before_training(folders: dict[str, Path], tmp_path: Path) -> None:
    name, run = "SD3Transformer2DModel", tmp_path / "run"
    for more, said in (
        (["method=adaln"], "method=adaln needs a DiT"),
        (["method.position=prepend"], "this base takes no extra tokens"),
        (["diffusion=linear", "sampler=unipc"], "choose diffusion=flow and sampler=flow_euler"),
        (["backbone.model.latent_size=[7,8]"], "choose multiples of 2"),
        (["backbone.model.frames=2"], "this model has no frames"),
    ):
        with pytest.raises((dmp.UserError, OmegaConfBaseException, InstantiationException), match=re.escape(said)):
            train(short(folders, name, run, *more))
    with pytest.raises(dmp.UserError, match="download it with hf download"):
        load_diffusers("nobody/nothing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(dmp.UserError, match="AutoencoderKL, which is not among those that can be trained"):
        load_diffusers(tmp_path / "other")
