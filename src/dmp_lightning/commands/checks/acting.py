"""Keys that are typed, and act on nothing: the method, the command or another key leaves them unread."""

import re
from collections.abc import Callable, Iterable, Sequence

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.checks.idle_of_methods import of_balance, of_condition, of_gates, of_rates, within
from dmp_lightning.commands.checks.keys import kind_of
from dmp_lightning.user_error import UserError

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

OF_THE_STORE = ("data", "data.train", "data.train.folder", "data.train.vae")
"""What encoding reads of the data."""
OF_THE_COMPUTER = ("trainer.accelerator", "trainer.precision")
"""What sampling reads of the trainer."""


def check_acting(configs: Sequence[DictConfig], command: str, keys: Iterable[str]) -> None:
    """Make sure that each of the keys, which were typed, acts in one of the configs of the runs at least.

    Raises:
        UserError: one acts in none, so that what is wanted with it would not happen.
    """
    for key in keys:
        reasons = [_idle(config, command, key) for config in configs]
        if reasons and all(reasons):
            raise UserError(f"{key} acts on nothing here: {reasons[0]}.")


def keys_of(overrides: Iterable[str]) -> list[str]:
    """The keys and groups that overrides set; what is deleted or is in another package is left out."""
    keys = [override.partition("=")[0].lstrip("+") for override in overrides]
    return [key for key in keys if not key.startswith("~") and "@" not in key]


def _idle(config: DictConfig, command: str, key: str) -> str | None:
    """Why the key acts on nothing, and what to do; None where it acts."""
    for unread, reason in UNREAD.get(command, {}).items():
        if within(key, unread):
            return f"{reason}, leave it out"
    rules = _OF_COMMANDS.get(command, ())
    return next((why for rule in rules if (why := rule(config, key))), None)


def _of_sampling(config: DictConfig, key: str) -> str | None:
    if key.startswith("trainer.") and key not in OF_THE_COMPUTER:
        return f"of the trainer this command reads {' and '.join(OF_THE_COMPUTER)}, leave it out"
    if within(key, "data") and key != "data" and not within(key, "data.train"):
        return "of the data this command reads data.train, leave it out"
    if key == "seed" and config.backbone.weights is not None:
        return "it is that of training, and samples have evaluation.seed or seeds"
    return None


def _of_the_base(config: DictConfig, key: str) -> str | None:
    if key in ("backbone.part", "backbone.labels") and config.backbone.weights is None:
        return "backbone.weights is null, set that to the file that it is about"
    return None


def _of_encoding(config: DictConfig, key: str) -> str | None:
    if config.verify is not None and key not in ("source", "verify") and not within(key, "hydra"):
        return "verify only checks what has been encoded, leave it out"
    if within(key, "data") and key not in OF_THE_STORE:
        return f"of the data this command reads {' and '.join(OF_THE_STORE[2:])}, leave it out"
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
    "train": (of_gates, of_rates, of_balance, of_condition, _of_guidance, _of_the_base, _of_unknown),
    "export": (of_gates, of_balance, of_condition, _of_the_base),
    "encode": (_of_encoding,),
    "sample": (_of_sampling, _of_guidance, _of_the_base),
    "evaluate": (_of_sampling, _of_guidance, _of_the_base),
}
