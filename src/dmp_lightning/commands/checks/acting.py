"""Keys that are typed, but have no effect: the method, the command or another key leaves them unread."""

import re
from collections.abc import Callable, Iterable, Sequence

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.checks.keys import kind_of
from dmp_lightning.commands.checks.unread import UNREAD
from dmp_lightning.runs.identity import within
from dmp_lightning.user_error import UserError

OF_THE_STORE = ("data", "data.train", "data.train.folder", "data.train.vae")
OF_TEXTS = ("captions", "caption_key", "text_length", "text_dtype")
"""Keys of the data that encoding reads."""
OF_THE_COMPUTER = ("trainer.accelerator", "trainer.precision")
"""Keys of the trainer that sampling reads."""

TRAINED = {
    "DMP": ("prompts", "gate"),
    "PromptTuning": ("prompts",),
    "LoRA": ("lora",),
    "AdaLN": ("adaln",),
    "FullFinetune": ("backbone",),
    "Frozen": (),
}
"""The learning rates that each of our methods reads. Of methods of a user's own all are taken to be read."""

ALL_ACTIVE = "all prompts are active, so load does nothing"


def check_acting(configs: Sequence[DictConfig], command: str, keys: Iterable[str]) -> None:
    """Make sure that each of the keys, which were typed, has an effect in at least one of the runs' configs.

    Raises:
        UserError: one has no effect in any, so what the user wants with it would not happen.
    """
    for key in keys:
        reasons = [_idle(config, command, key) for config in configs]
        if reasons and all(reasons):
            raise UserError(f"{key} has no effect here: {reasons[0]}.")


def keys_of(overrides: Iterable[str]) -> list[str]:
    """The keys and groups that overrides set; what is deleted or is in another package is left out."""
    keys = [override.partition("=")[0].lstrip("+") for override in overrides]
    return [key for key in keys if not key.startswith("~") and "@" not in key]


def _idle(config: DictConfig, command: str, key: str) -> str | None:
    """Why the key has no effect, and what to do; None where it has one."""
    for unread, reason in UNREAD.get(command, {}).items():
        if within(key, unread):
            return f"{reason}, leave it out"
    rules = _OF_COMMANDS.get(command, ())
    return next((why for rule in rules if (why := rule(config, key))), None)


def _of_sampling(config: DictConfig, key: str) -> str | None:
    if key.startswith("trainer.") and key not in OF_THE_COMPUTER:
        return f"this command reads only {' and '.join(OF_THE_COMPUTER)}, leave it out"
    if within(key, "data") and key != "data" and not within(key, "data.train"):
        return "this command reads only data.train, leave it out"
    if key == "seed" and config.backbone.weights is not None:
        return "it is the seed of training, for samples set evaluation.seed or seeds"
    return None


def _of_the_base(config: DictConfig, key: str) -> str | None:
    if key in ("backbone.part", "backbone.labels") and "path" in config.backbone:
        return "a model of diffusers has neither, leave it out"
    if key in ("backbone.part", "backbone.labels") and config.backbone.weights is None:
        return "backbone.weights is null, set it to the file of the weights"
    return None


def _of_encoding(config: DictConfig, key: str) -> str | None:
    if config.verify is not None and key not in ("source", "verify") and not within(key, "hydra"):
        return "verify only checks what has been encoded, leave it out"
    if within(key, "data") and key not in OF_THE_STORE:
        return f"this command reads only {' and '.join(OF_THE_STORE[2:])}, leave it out"
    if key in OF_TEXTS and config.text_encoder is None:
        return "no captions are encoded, set text_encoder"
    return None


def _of_guidance(config: DictConfig, key: str) -> str | None:
    guidance = config.evaluation.guidance
    if key in ("evaluation.guidance.channels", "evaluation.guidance.interval") and guidance.guidance_scale == 1:
        return "evaluation.guidance.guidance_scale=1 means no guidance, set that too"
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


def _of_gates(config: DictConfig, key: str) -> str | None:
    """A gate, where the method has none."""
    if within(key, "gate") and "gate" not in config.method:
        return f"method={_name(config)} has no gate, leave it out or choose method=dmp"
    return None


def _of_rates(config: DictConfig, key: str) -> str | None:
    """Rates, and how they go, of what the method does not train."""
    trained = _trained(config)
    if trained is None:
        return None
    group = key.removeprefix("recipe.learning_rates.")
    if group != key and group not in trained:
        names = " and ".join(f"recipe.learning_rates.{each}" for each in trained)
        return f"method={_name(config)} reads {f'only {names}' if names else 'no learning rates'}, leave it out"
    if key == "recipe.rates_times_prompt_count" and "prompts" not in trained and OmegaConf.select(config, key):
        return f"method={_name(config)} has no prompts, leave it out"
    if not trained and (within(key, "recipe.optimizer") or within(key, "recipe.lr_scheduler")):
        return f"method={_name(config)} trains nothing, leave it out"
    return None


def _of_balance(config: DictConfig, key: str) -> str | None:
    """Balance losses, where the gate's weights are constant, or `load`, where all prompts are active."""
    if not within(key, "method.balance"):
        return None
    gate = _gate(config)
    if gate == "ConstantGate":
        return "gate=ConstantGate has constant weights, leave it out or choose another gate"
    if key == "method.balance.load" and gate == "SigmoidGate":
        return f"with gate=SigmoidGate {ALL_ACTIVE}, leave it out or choose another gate"
    if key == "method.balance.load" and OmegaConf.select(config, "method.gate.top_k") == 1:
        return f"with gate.top_k=1 {ALL_ACTIVE}, set that too"
    return None


def _of_condition(config: DictConfig, key: str) -> str | None:
    """The condition of a gate that looks at nothing, and the noise schedule of one that looks at something else."""
    if key == "method.condition" and _gate(config) == "ConstantGate":
        return "gate=ConstantGate has no input, leave it out or choose another gate"
    if within(key, "method.process") and config.method.condition != "log_snr":
        return "only method.condition=log_snr reads it, set that too"
    return None


def _of_the_process(config: DictConfig, key: str) -> str | None:
    """A weight of the loss, where the process has none, and the normal of times that are drawn uniformly."""
    if within(key, "loss_weight") and "loss_weight" not in config.diffusion:
        return "this diffusion has no weight of the loss, leave it out or choose diffusion=linear"
    if key in ("diffusion.mean", "diffusion.std") and config.diffusion.get("times") == "uniform":
        return "only diffusion.times=logit_normal reads it, set that too"
    return None


def _trained(config: DictConfig) -> tuple[str, ...] | None:
    package, _, name = str(config.method._target_).rpartition(".")
    if not package.startswith("dmp_lightning.methods"):
        return None
    trained = TRAINED.get(name)
    constant = str(OmegaConf.select(config, "gate._target_")).endswith(".ConstantGate")
    return trained[:1] if trained and name == "DMP" and constant else trained


def _name(config: DictConfig) -> str:
    return str(config.method._target_).rpartition(".")[2]


def _gate(config: DictConfig) -> str | None:
    """The name of the method's gate, if that is one of ours."""
    package, _, name = str(OmegaConf.select(config, "method.gate._target_")).rpartition(".")
    return name if package == "dmp_lightning.prompts" else None


Rule = Callable[[DictConfig, str], str | None]
_OF_COMMANDS: dict[str, tuple[Rule, ...]] = {
    "train": (
        _of_gates,
        _of_rates,
        _of_balance,
        _of_condition,
        _of_the_process,
        _of_guidance,
        _of_the_base,
        _of_unknown,
    ),
    "export": (_of_gates, _of_balance, _of_condition, _of_the_base),
    "encode": (_of_encoding,),
    "sample": (_of_sampling, _of_guidance, _of_the_base),
    "evaluate": (_of_sampling, _of_guidance, _of_the_base),
}
