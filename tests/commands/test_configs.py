"""Every experiment and every value of every config group composes, resolves and builds its parts."""

from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from dmp_lightning.commands.cli import CONFIG_DIR
from tests.configs import config

GROUPS = [
    (path.parent.relative_to(CONFIG_DIR).as_posix(), path.stem)
    for path in sorted(Path(CONFIG_DIR).glob("*/[!_]*.yaml"))
    if path.parent.name != "sweep"  # see test_sweeps
]
ADDED = {"experiment", "mode"}  # groups that the default does not have
FULL = {"own_images", "emoji", "emoji_flow", "emoji_pretrain", "emoji_flow_pretrain"}
"""Sized by its weights, or small enough to be tried as they are."""
EXPERIMENTS = [name for group, name in GROUPS if group == "experiment" and name not in FULL]


@pytest.mark.parametrize(("group", "name"), GROUPS, ids="/".join)
def test_every_value_of_every_group_composes_and_resolves(group: str, name: str) -> None:
    file = ["backbone.weights=${asset:digits_dit.safetensors}", "backbone.model.heads=2"]
    sized = file if name in ("own_images", "from_file") else []
    if (group, name) == ("launcher", "ray"):
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    composed = config(f"{'+' if group in ADDED else ''}{group}={name}", *sized, "run_dir=runs/test")
    OmegaConf.resolve(composed)
    assert not OmegaConf.missing_keys(composed)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_also_composes_as_a_dry_run(name: str) -> None:
    composed = config(f"+experiment={name}", "+mode=dry_run", "run_dir=runs/test")
    OmegaConf.resolve(composed)
    assert composed.backbone.weights is None
    assert composed.recipe.max_steps == composed.trainer.max_steps == 2


@pytest.mark.parametrize("group", ["sampler", "diffusion", "loss_weight", "gate", "recipe"])
def test_constructors_take_what_the_configs_say(group: str) -> None:
    for name in (name for found, name in GROUPS if found == group):
        composed = config(f"{group}={name}", "run_dir=runs/test")
        instantiate(composed.recipe.optimizer if group == "recipe" else composed[group])


def test_a_launcher_goes_with_an_experiment() -> None:
    composed = config("+experiment=ffhq_dit_l2", "launcher=slurm_local", "trainer=ddp")
    assert (composed.resume, composed.name, composed.trainer.strategy) == ("auto", "ffhq_dit_l2", "ddp")
    assert config("launcher=slurm_local", "resume=latest").resume == "latest"


def test_the_command_line_beats_the_experiment() -> None:
    composed = config("+experiment=ffhq_dit_l2", "method=prompt_tuning", "recipe.max_steps=7", "backbone=dit_s8")
    assert composed.method._target_.endswith("PromptTuning")
    assert composed.trainer.max_steps == 7
    assert composed.backbone.model.patch_size == 8


def test_the_paper_recipe_is_that_of_the_paper() -> None:
    composed = config("+experiment=ffhq_dit_l2")
    recipe = composed.recipe
    assert (recipe.batch_size, recipe.max_steps, recipe.ema_decay) == (128, 50_000, None)
    assert (recipe.learning_rates.prompts, recipe.learning_rates.gate) == (1e-4, 1e-3)
    assert recipe.optimizer.weight_decay == 0
    assert (composed.gate.top_k, composed.gate.weight_scale) == (1.0, "sum")
    assert composed.method.condition == "timestep"
    assert dict(composed.method.balance) == {"importance": 1.0, "load": 1.0}


def test_an_unknown_key_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigCompositionException, match="max_step"):
        config("recipe.max_step=3")


def test_the_environment_names_a_run_of_wandb_unless_it_is_named_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_NAME", "")  # as if it were not set
    monkeypatch.setenv("WANDB_RUN_GROUP", "group")
    found = config("name=mine").logger.wandb
    assert (found.project, found.name, found.group) == ("theirs", "mine", "group")
    typed = config("logger.wandb.project=here", "logger.wandb.group=own").logger.wandb
    assert (typed.project, typed.group) == ("here", "own")
