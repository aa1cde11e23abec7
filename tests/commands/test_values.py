"""Values of another kind than their key's are told in one sentence, before anything is built; odd forms are taken."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dmp_lightning.commands.checks.keys import COMMANDS, kind_of
from dmp_lightning.commands.checks.quoting import readable
from dmp_lightning.commands.checks.values import check_numbers, check_values
from dmp_lightning.commands.cli import CONFIG_DIR
from dmp_lightning.commands.errors import explanation
from tests.commands.test_configs import GROUPS
from tests.configs import config

PLACED = ("train", "evaluate", "sample", "export")


def composed(typed: str, command: str = "train") -> DictConfig:
    """The config of a command with something typed, checked."""
    (read,) = readable([typed], command, Path(CONFIG_DIR))
    override = OverridesParser.create().parse_override(read)
    if override.is_add() or override.is_delete() or "." not in override.key_or_group:
        found = config(read, *_placed(command), name=command)
    else:  # which takes a fraction of the time
        found = deepcopy(plain(command))
        OmegaConf.update(found, override.key_or_group, override.value())
    check_values(found, command)
    return found


@cache
def plain(command: str) -> DictConfig:
    return config(*_placed(command), name=command)


def _placed(command: str) -> list[str]:
    return ["run_dir=runs/test"] if command in PLACED else []


# What is typed, and what the sentence says to choose.
WHOLE, SEED = "a whole number from 1", "a whole number from 0 to 4294967295"
WRONG: dict[str, dict[str, str]] = {
    "train": {
        **{
            f"recipe.max_steps={value}": WHOLE
            for value in ("abc", "1.5", "null", "inf", "nan", "0", "-1", "true", "''")
        },
        **{f"recipe.max_steps={value}": WHOLE for value in ("[3]", "{a:1}", "0x10", "1e400", "99999999999", "yes")},
        "recipe.max_steps='128'": f"{WHOLE}. It is a text: leave out the quotes.",
        "recipe.batch_size=null": WHOLE,
        "recipe.validate_every=0": WHOLE,
        "recipe.checkpoint_every=on": WHOLE,
        "recipe.learning_rates.prompts=abc": "a number from 0.",
        "recipe.learning_rates.gate=null": "a number from 0.",
        "recipe.learning_rates.gate=-1": "a number from 0.",
        "+recipe.learning_rates.own=nan": "a number from 0.",
        "recipe.learning_rates=3": "rates by the name",
        "recipe.ema_decay=abc": "a number from 0, below 1, or null.",
        "recipe.ema_decay=1": "a number from 0, below 1, or null.",
        "recipe.ema_decay=-0.1": "a number from 0, below 1, or null.",
        f"backbone.weights={'x' * 256}": "a path or null. No file's name is longer than 255 bytes.",
        "resume=~nobody.here/x": "a path or null. There is no such home folder.",
        "recipe.optimizer=null": "the _target_ and arguments of an optimiser.",
        "recipe.optimizer.weight_decay=abc": "a number from 0.",
        "recipe.optimizer.fused=1": "true or false, or null.",
        "recipe.optimizer._partial_=false": "true, as it is built later.",
        "+recipe.optimizer.betas=0.9": "a list of 2, each a number from 0, below 1.",
        "+recipe.optimizer.betas=[0.9,1]": "a list of 2, each a number from 0, below 1.",
        "+recipe.optimizer.eps=x": "a number from 0.",
        "+recipe.optimizer.amsgrad=3": "true or false.",
        "recipe.lr_scheduler=abc": "the _target_ and arguments of a schedule or null.",
        "recipe.lr_scheduler.T_max=0": WHOLE,
        "recipe.rates_times_prompt_count=[1.5]": "a list, each a text.",
        "gate.top_k=abc": "a number above 0, up to 1.",
        "gate.top_k=2": "a number above 0, up to 1.",
        "gate.top_k=nan": "a number above 0, up to 1.",
        "gate.weight_scale=foo": "sum or mean.",
        "method.balance.importance=abc": "released, or weights of importance and load, each a number from 0.",
        "method.balance=[1,2]": "Cannot merge",
        "method.injection=[0,1.5]": "all, first:n, last:n, every:n, first:1/2, or a list",
        "method.injection=first": "all, first:n, last:n, every:n, first:1/2, or a list",
        "method.prompt_count=0": "a whole number, or a multiple of the tokens such as 0.25 or 2.0, or null.",
        "method.prompt_count=tokens/4": "a whole number, or a multiple of the tokens such as 0.25 or 2.0, or null.",
        "method.position=before": "add or prepend.",
        "method.init=null": "zero, normal or xavier.",
        "method.condition=true": "timestep, timestep_and_label or log_snr.",
        "budget=abc": "There is no budget=abc",
        "evaluation.seed=abc": SEED,
        "evaluation.samples=2.5": WHOLE,
        "evaluation.batch_size=0": WHOLE,
        "evaluation.shown=-1": "a whole number from 0.",
        "evaluation.strata=null": WHOLE,
        "evaluation.guidance.guidance_scale=null": "a number.",
        "evaluation.guidance.guidance_scale=inf": "a number.",
        "evaluation.guidance.channels=foo": "first_three or all.",
        "evaluation.guidance.interval=0.5": "[start, end], two numbers from 0 to 1, the smaller first.",
        "evaluation.guidance.interval=[0.9,0.1]": "[start, end], two numbers from 0 to 1, the smaller first.",
        "evaluation.guidance.interval=[0,1,1]": "[start, end], two numbers from 0 to 1, the smaller first.",
        "seed=-1": SEED,
        "seed=1e30": SEED,
        "seed=abc": SEED,
        "seed=null": SEED,
        "compile=maybe": "true or false.",
        "compile=1": "true or false.",
        "activation_checkpointing=yes": "true or false.",
        "matmul_precision=low": "highest, high or medium.",
        "trainer.precision=16-true": "32-true or bf16-mixed.",
        "trainer.precision=16-mixed": "32-true or bf16-mixed.",
        "trainer.precision=64": "32-true or bf16-mixed.",
        "trainer.accelerator=foo": "auto, cpu, gpu, cuda or mps.",
        "trainer.devices=0": WHOLE,
        "trainer.devices=-1": WHOLE,
        "trainer.devices=abc": WHOLE,
        "trainer.num_nodes=null": WHOLE,
        "trainer.strategy=foo": "auto, ddp",
        "trainer.gradient_clip_val=-1": "a number from 0 or null.",
        "trainer.log_every_n_steps=0": WHOLE,
        "trainer.max_epochs=3": "-1, as steps count here: set recipe.max_steps.",
        "+trainer.accumulate_grad_batches=1.5": WHOLE,
        "backbone.dtype=float16": "float32 or bfloat16.",
        "backbone.model.timestep_frequencies=theirs": "release or diffusers.",
        "backbone.predicts=x0": "epsilon, v, velocity or sit, or null.",
        "backbone.part=emma": "ema or model, or null.",
        "backbone.labels=[0]": "strict or reinit.",
        "backbone.model.width=abc": WHOLE,
        "backbone.model.heads=null": WHOLE,
        "backbone.model.class_dropout_prob=2": "a number from 0, up to 1.",
        "backbone=5": "one of diffusers, digits, dit_b2",
        "data.workers=-1": "a whole number from 0 to 1024.",
        "data.train=null": "the arguments of a data set.",
        "name=null": "a text.",
        "name=": "a text.",
        "label=''": "a text or null.",
        "logger.wandb.tags=[null]": "a list, each a text.",
        "logger=null": "one of csv, wandb_csv.",
        "evaluation=null": "one of default, digits, emoji, text_to_image.",
        "sampler.steps=1.5": WHOLE,
        "sampler.steps=null": WHOLE,
    },
    "sample": {
        "classes=[0.5]": "a list of one or more, each a whole number from 0, or null.",
        "classes=[cat]": "a list of one or more, each a whole number from 0, or null.",
        "classes=[]": "a list of one or more, each a whole number from 0, or null.",
        "classes=[[1]]": "a list of one or more, each a whole number from 0, or null.",
        "seeds=[1.5]": f"a list of one or more, each {SEED}.",
        "seeds=[]": f"a list of one or more, each {SEED}.",
        "seeds=null": f"a list of one or more, each {SEED}.",
        "samples=2.5": WHOLE,
        "samples=0": WHOLE,
        "strength=abc": "a number.",
        "strength=nan": "a number.",
        "compare=1": "true or false.",
    },
    "evaluate": {"npz=maybe": "true or false."},
    "encode": {
        "shard_mb=0": WHOLE,
        "batch_size=abc": WHOLE,
        "workers=-1": "a whole number from 0 to 1024.",
        "resolution=256.5": f"{WHOLE} or null.",
        "on_error=ignore": "fail or skip.",
        "labels=folder": "auto, folders or none.",
        "labels=null": "auto, folders or none.",
        "text_dtype=int8": "float32, bfloat16, float16 or float8_e4m3fn.",
        "text_length=0": f"{WHOLE} or null.",
    },
    "export": {"output=null": "a path."},
    "report": {},
}


@pytest.mark.parametrize(
    ("command", "typed", "said"), [(name, *case) for name, cases in WRONG.items() for case in cases.items()]
)
def test_a_value_of_another_kind_is_told(command: str, typed: str, said: str) -> None:
    with pytest.raises((ValueError, HydraException, OmegaConfBaseException)) as raised:
        composed(typed, command=command)
    sentence = explanation(raised.value)
    assert typed.partition("=")[0].lstrip("+").removesuffix(".importance") in sentence
    assert said in sentence
    assert "\n" not in sentence


TAKEN = {
    "recipe.max_steps=1e3": ("recipe.max_steps", 1000),
    "recipe.max_steps=1_000": ("recipe.max_steps", 1000),
    "recipe.learning_rates.prompts=.5": ("recipe.learning_rates.prompts", 0.5),
    "recipe.learning_rates.prompts=1e-4": ("recipe.learning_rates.prompts", 1e-4),
    "recipe.rates_times_prompt_count=prompts": ("recipe.rates_times_prompt_count", ["prompts"]),
    "method.injection=2": ("method.injection", [2]),
    "method.injection=first:1/2": ("method.injection", "first:1/2"),
    "method.prompt_count=2.0": ("method.prompt_count", 2.0),
    "method.balance=released": ("method.balance", "released"),
    "trainer.devices=[0,1]": ("trainer.devices", [0, 1]),
    "evaluation.guidance.interval=[0,1]": ("evaluation.guidance.interval", [0, 1]),
    "name=007": ("name", "007"),
    "label=1.50": ("label", "1.50"),
    "backbone.weights=2024": ("backbone.weights", "2024"),
    "budget=null": ("budget", None),
}
OF_SAMPLES = {"classes=3": ("classes", [3]), "seeds=3": ("seeds", [3]), "seeds=[1e1]": ("seeds", [10])}


@pytest.mark.parametrize(
    ("command", "typed"), [("train", each) for each in TAKEN] + [("sample", each) for each in OF_SAMPLES]
)
def test_other_forms_of_a_value_are_taken(command: str, typed: str) -> None:
    key, expected = (TAKEN | OF_SAMPLES)[typed]
    found = OmegaConf.select(composed(typed, command), key)
    plain_value = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
    assert (plain_value, type(plain_value)) == (expected, type(expected))


BROKEN = {
    "name=${foo}": "name=${foo} refers to a missing key",
    "seed=${seed}": "seed=${seed} cannot be resolved",
    "recipe.max_steps=${foo:}": "Unsupported interpolation type foo",
    "recipe.max_steps=${oc.env:NO_SUCH_VARIABLE}": "recipe.max_steps=${oc.env:NO_SUCH_VARIABLE} cannot be resolved",
    "recipe.max_steps=???": "recipe.max_steps is missing (???)",
    "~recipe.optimizer": "recipe.optimizer is missing",
    "~sampler.steps": "sampler.steps is missing",
    "~data.train.train": "data.train.train is missing",
    "+recipe.optimizer.foo=1": "torch.optim.AdamW has no argument foo (recipe.optimizer.foo): ",
    "+trainer.precison=3": "did you mean precision?",
    "+evaluation.foo=3": "evaluation.foo has no effect on evaluations",
    "budget.seconds=3": "The config has no budget.seconds: there is nothing in budget.",
    "+name=3": "An item is already at 'name'.",
}


@pytest.mark.parametrize("typed", BROKEN)
def test_a_config_that_is_broken_is_told_in_one_sentence(typed: str) -> None:
    with pytest.raises((ValueError, HydraException, OmegaConfBaseException)) as raised:
        composed(typed)
    assert BROKEN[typed] in explanation(raised.value)
    assert "\n" not in explanation(raised.value)


LAUNCHERS = {
    "n_jobs": [0, 1.5, "abc", None],
    "timeout_min": [0, -1, "1h"],
    "tasks_per_node": ["auto", 0],
    "gpus_per_node": [-1, 0.5],
    "max_num_timeout": [-1],
    "mem_gb": [0, "8GB"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in LAUNCHERS.items() for value in values])
def test_a_number_of_a_launcher_of_another_kind_is_told(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"hydra\.launcher\.{name}=.*: choose a "):
        check_numbers(OmegaConf.create({"_target_": "x", name: value}))


def test_numbers_of_our_launchers_are_taken() -> None:
    check_numbers(OmegaConf.create({"n_jobs": -1, "timeout_min": 60, "gpus_per_node": None, "ray": {"init": {}}}))


def leaves(node: object, where: str = "") -> Iterator[str]:
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from leaves(value, f"{where}.{name}".lstrip("."))
    else:
        yield where


def written_keys(group: str, name: str) -> set[str]:
    """The keys that the file of a group's value sets, laid out as the whole config is."""
    text = (Path(CONFIG_DIR) / group / f"{name}.yaml").read_text(encoding="utf-8")
    content = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(content, dict)
    placed = "" if "@package _global_" in text else group.replace("/", ".")
    found = {key for name in content.keys() - {"defaults", "hydra"} for key in leaves(content[name], str(name))}
    return {f"{placed}.{key}".lstrip(".") for key in found}


def test_every_key_of_every_config_has_a_kind() -> None:
    found = {(command, key) for command in COMMANDS for key in leaves(OmegaConf.to_container(plain(command)))}
    found |= {("train", key) for group, name in GROUPS for key in written_keys(group, name)}
    lacking = {
        key
        for command, key in found
        if not key.endswith("_target_") and not (command == "encode" and key.startswith("data."))
        if kind_of(key, command) is None
    }
    assert not lacking, "there is no kind of these"
