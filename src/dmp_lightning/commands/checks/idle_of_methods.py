"""Keys of a method and its gate that are typed, and that this method or this gate leaves unread: why, or None."""

from omegaconf import DictConfig, OmegaConf

TRAINED = {
    "DMP": ("prompts", "gate"),
    "PromptTuning": ("prompts",),
    "LoRA": ("lora",),
    "AdaLN": ("adaln",),
    "FullFinetune": ("backbone",),
    "Frozen": (),
}
"""The learning rates that each of our methods reads. Of methods of a user's own all are taken to be read."""

OF_ALL_PROMPTS = "all prompts are active, so that load says nothing"


def of_gates(config: DictConfig, key: str) -> str | None:
    """A gate, where the method has none."""
    if within(key, "gate") and "gate" not in config.method:
        return f"method={_name(config)} has no gate, leave it out or choose method=dmp"
    return None


def of_rates(config: DictConfig, key: str) -> str | None:
    """Rates, and how they go, of what the method does not train."""
    trained = _trained(config)
    if trained is None:
        return None
    group = key.removeprefix("recipe.learning_rates.")
    if group != key and group not in trained:
        read = " and ".join(f"recipe.learning_rates.{each}" for each in trained) or "none"
        return f"of the rates method={_name(config)} reads {read}, leave it out"
    if key == "recipe.rates_times_prompt_count" and "prompts" not in trained and OmegaConf.select(config, key):
        return f"method={_name(config)} has no prompts, leave it out"
    if not trained and (within(key, "recipe.optimizer") or within(key, "recipe.lr_scheduler")):
        return f"method={_name(config)} trains nothing, leave it out"
    return None


def of_balance(config: DictConfig, key: str) -> str | None:
    """Balance losses, where the gate's weights are constant, or `load`, where all prompts are active."""
    if not within(key, "method.balance"):
        return None
    gate = _gate(config)
    if gate == "ConstantGate":
        return "gate=ConstantGate has constant weights, leave it out or choose another gate"
    if key == "method.balance.load" and gate == "SigmoidGate":
        return f"with gate=SigmoidGate {OF_ALL_PROMPTS}, leave it out or choose another gate"
    if key == "method.balance.load" and OmegaConf.select(config, "method.gate.top_k") == 1:
        return f"with gate.top_k=1 {OF_ALL_PROMPTS}, set that too"
    return None


def of_condition(config: DictConfig, key: str) -> str | None:
    """What the gate sees, where it looks at nothing, and the noise schedule, where it sees another thing."""
    if key == "method.condition" and _gate(config) == "ConstantGate":
        return "gate=ConstantGate sees nothing, leave it out or choose another gate"
    if within(key, "method.betas") and config.method.condition != "log_snr":
        return "method.condition=log_snr alone reads it, set that too"
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


def within(key: str, group: str) -> bool:
    """Whether a key is that of a group, or of something in it."""
    return key == group or key.startswith(f"{group}.")
