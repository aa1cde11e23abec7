"""Keys that are typed, and act on nothing: the method, the command or another key leaves them unread."""

import re
from collections.abc import Callable, Iterable, Sequence

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.keys import kind_of

TRAINED = {
    "DMP": ("prompts", "gate"),
    "PromptTuning": ("prompts",),
    "LoRA": ("lora",),
    "AdaLN": ("adaln",),
    "FullFinetune": ("backbone",),
    "Frozen": (),
}
"""The learning rates that each of our methods reads. Of methods of a user's own all are taken to be read."""

OF_TRAINING = ("recipe", "loss_weight", "logger", "controls", "compile", "activation_checkpointing", "resume", "label")
OF_PATCHES = (*OF_TRAINING, "base_results", "method", "gate", "budget", "data.validation")
UNREAD: dict[str, dict[str, str]] = {
    "sample": {
        **dict.fromkeys(OF_PATCHES, "sampling reads none of it"),
        "features": "sampling measures nothing",
        "evaluation.samples": "samples says how many",
        "evaluation.seed": "seeds says which noise",
        "evaluation.shown": "samples says how many",
        "evaluation.strata": "sampling takes no losses",
    },
    "evaluate": {
        **dict.fromkeys(OF_PATCHES, "an evaluation reads none of it"),
        "evaluation.shown": "an evaluation draws no pictures",
        "evaluation.strata": "an evaluation takes no losses",
    },
    "export": dict.fromkeys(
        (*OF_TRAINING, "base_results", "sampler", "features", "evaluation", "data", "trainer", "matmul_precision"),
        "an export reads none of it",
    ),
}
"""Keys of training that other commands have and do not read, and why."""

OF_THE_COMPUTER = ("trainer.accelerator", "trainer.precision")
"""What sampling reads of the trainer."""


def check_acting(configs: Sequence[DictConfig], command: str, keys: Iterable[str]) -> None:
    """Make sure that each of the keys, which were typed, acts in one of the configs of the runs at least.

    Raises:
        ValueError: one acts in none, so that what is wanted with it would not happen.
    """
    for key in keys:
        reasons = [_idle(config, command, key) for config in configs]
        if reasons and all(reasons):
            raise ValueError(f"{key} acts on nothing here: {reasons[0]}.")


def keys_of(overrides: Iterable[str]) -> list[str]:
    """The keys and groups that overrides set; what is deleted or is in another package is left out."""
    keys = [override.partition("=")[0].lstrip("+") for override in overrides]
    return [key for key in keys if not key.startswith("~") and "@" not in key]


def _idle(config: DictConfig, command: str, key: str) -> str | None:
    """Why the key acts on nothing, and what to do; None where it acts."""
    for unread, reason in UNREAD.get(command, {}).items():
        if _within(key, unread):
            return f"{reason}, leave it out"
    rules = _OF_COMMANDS.get(command, ())
    return next((why for rule in rules if (why := rule(config, key))), None)


def _of_sampling(config: DictConfig, key: str) -> str | None:
    if key.startswith("trainer.") and key not in OF_THE_COMPUTER:
        return f"of the trainer this command reads {' and '.join(OF_THE_COMPUTER)}, leave it out"
    if _within(key, "data") and key != "data" and not _within(key, "data.train"):
        return "of the data this command reads data.train, leave it out"
    if key == "seed" and config.backbone.weights is not None:
        return "it is that of training, and samples have evaluation.seed or seeds"
    return None


def _of_gates(config: DictConfig, key: str) -> str | None:
    if _within(key, "gate") and not _has_gate(config, "method") and not _has_gate(config, "budget.of"):
        return f"method={_name(config)} has no gate, leave it out or choose method=dmp"
    return None


def _of_the_base(config: DictConfig, key: str) -> str | None:
    if key in ("backbone.part", "backbone.labels") and config.backbone.weights is None:
        return "backbone.weights is null, set that to the file that it is about"
    return None


def _of_rates(config: DictConfig, key: str) -> str | None:
    trained = _trained(config)
    if trained is None:
        return None
    group = key.removeprefix("recipe.learning_rates.")
    if group != key and group not in trained:
        read = " and ".join(f"recipe.learning_rates.{each}" for each in trained) or "none"
        return f"of the rates method={_name(config)} reads {read}, leave it out"
    if key == "recipe.rates_times_prompt_count" and "prompts" not in trained and OmegaConf.select(config, key):
        return f"method={_name(config)} has no prompts, leave it out"
    if not trained and (_within(key, "recipe.optimizer") or _within(key, "recipe.lr_scheduler")):
        return f"method={_name(config)} trains nothing, leave it out"
    return None


def _of_guidance(config: DictConfig, key: str) -> str | None:
    guidance = config.evaluation.guidance
    if key in ("evaluation.guidance.channels", "evaluation.guidance.interval") and guidance.guidance_scale == 1:
        return "evaluation.guidance.guidance_scale=1 is no guidance, set that too"
    return None


def _of_unknown(config: DictConfig, key: str) -> str | None:
    """A key that no table has, no constructor takes and no other key refers to."""
    group, _, name = key.rpartition(".")
    parent = OmegaConf.select(config, group) if group else None
    if not isinstance(parent, DictConfig) or "_target_" in parent or kind_of(key, "train") is not None:
        return None
    if group.startswith("sweep") or not isinstance(OmegaConf.select(config, key), str | int | float | bool):
        return None
    text = OmegaConf.to_yaml(config)
    return None if re.search(rf"\${{[^}}]*{re.escape(name)}", text) else "nothing reads it, leave it out"


Rule = Callable[[DictConfig, str], str | None]
_OF_COMMANDS: dict[str, tuple[Rule, ...]] = {
    "train": (_of_gates, _of_rates, _of_guidance, _of_the_base, _of_unknown),
    "export": (_of_gates, _of_the_base),
    "sample": (_of_sampling, _of_guidance, _of_the_base),
    "evaluate": (_of_sampling, _of_guidance, _of_the_base),
}


def _trained(config: DictConfig) -> tuple[str, ...] | None:
    package, _, name = str(config.method._target_).rpartition(".")
    if not package.startswith("dmp_lightning.methods"):
        return None
    trained = TRAINED.get(name)
    constant = str(OmegaConf.select(config, "gate._target_")).endswith(".ConstantGate")
    return trained[:1] if trained and name == "DMP" and constant else trained


def _name(config: DictConfig) -> str:
    return str(config.method._target_).rpartition(".")[2]


def _has_gate(config: DictConfig, group: str) -> bool:
    found = OmegaConf.select(config, group)
    return isinstance(found, DictConfig) and "gate" in found


def _within(key: str, group: str) -> bool:
    return key == group or key.startswith(f"{group}.")
