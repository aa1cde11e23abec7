"""The table of the config's keys, by command, and the kind of value that each takes."""

from dmp_lightning.commands.checks.compound_kinds import (
    MAYBE_PATH,
    MAYBE_TEXT,
    either_of,
    list_of,
    mapping,
    mapping_of,
    optional,
)
from dmp_lightning.commands.checks.keys_of_encoding import ENCODE
from dmp_lightning.commands.checks.keys_of_training import OF_TRAINER, TRAIN
from dmp_lightning.commands.checks.kinds import (
    BOOLEAN,
    COUNT,
    FRACTION,
    PATH,
    POSITIVE,
    SEED,
    TEXT,
    WEIGHT,
    Kind,
    choice,
    constant,
    integer,
    number,
    pattern,
)

PARTIAL = constant(True, why="as it is built later")
BALANCE = mapping_of({"importance": WEIGHT, "load": WEIGHT}, "weights of importance and load, each a number from 0")
INJECTION = pattern(r"all|every:\d+|(first|last):(\d+|[1-9]\d*/[1-9]\d*)", "all, first:n, last:n, every:n, first:1/2")
PROMPT_COUNT = Kind(
    "a whole number, or a multiple of the tokens such as 0.25 or 2.0", number(0, 1_000_000, above=True).take
)
"""As it is: 2 is two prompts, 2.0 two for each token."""
LABEL = integer()

OF_METHODS: dict[str, Kind] = {
    "balance": either_of(choice("released"), BALANCE),
    "balance.importance": WEIGHT,
    "balance.load": WEIGHT,
    "injection": either_of(INJECTION, list_of(LABEL)),
    "prompt_count": optional(PROMPT_COUNT),
    "position": choice("add", "prepend"),
    "grid": optional(either_of(COUNT, list_of(COUNT, count=2))),
    "init": choice("zero", "normal", "xavier"),
    "condition": choice("timestep", "timestep_and_label", "log_snr"),
    "rank": COUNT,
    "alpha": POSITIVE,
    "targets": list_of(TEXT),
    "process": mapping("one of diffusion=..."),
    "gate": mapping("one of gate=..."),
}

SOMETIMES: dict[str, Kind] = {
    "*._partial_": PARTIAL,
    **{f"method.{name}": kind for name, kind in OF_METHODS.items()},
    "dry_run.blocks": COUNT,
    "dry_run.latent_size": list_of(COUNT, count=2),
    "budget.equal": choice("seconds"),
    "budget.seconds": optional(POSITIVE),
    "budget.of": MAYBE_PATH,
    "backbone.model.class_dropout_prob": FRACTION,
    "backbone.model.timestep_frequencies": choice("release", "diffusers"),
    "backbone.model.input_size": either_of(COUNT, list_of(COUNT, count=2)),
    "backbone.model.predicts": choice("epsilon_and_variance", "epsilon", "v", "velocity", "sit"),
    "backbone.predicts": optional(choice("epsilon", "v", "velocity", "sit")),
    **{
        f"backbone.model.{name}": COUNT
        for name in ("in_channels", "patch_size", "width", "depth", "heads", "num_classes")
    },
    "backbone.path": MAYBE_PATH,
    "backbone.lora_targets": list_of(TEXT),
    "backbone.model.latent_size": optional(list_of(COUNT, count=2)),
    "backbone.model.frames": optional(COUNT),
    "backbone.model.blocks": optional(COUNT),
    "backbone.model.guidance": number(),
    "backbone.model.quantize": optional(choice("int8", "fp8", "nf4")),
    "backbone.model.condition_dropout": FRACTION,
    "gate.top_k": number(0, 1, above=True),
    "gate.weight_scale": choice("sum", "mean"),
    "data.*.count": COUNT,
    "data.*.folder": PATH,
    "data.*.more": integer(),
    "data.*.num_classes": COUNT,
    "data.*.pictures": PATH,
    "data.*.size": COUNT,
    "data.*.sample_shape": list_of(COUNT, count=3),
    "data.*.shapes": mapping("the shape of each tensor of a condition"),
    "data.*.shapes.*": list_of(COUNT),
    "data.*.train": BOOLEAN,
    "data.*.vae": PATH,
    "data.*.texts": MAYBE_PATH,
    "data.*.takes": optional(either_of(list_of(TEXT), mapping("the shape of each tensor of a condition"))),
    "data.*.takes.*": list_of(COUNT),
    "data.*.conditions": either_of(COUNT, list_of(TEXT)),
    "data.*.dtype": choice("float32", "bfloat16"),
    "features.source": mapping("the arguments of a data set"),
    "features.shape": list_of(COUNT, count=3),
    "features.weights": MAYBE_PATH,
    "diffusion.betas": mapping("a noise schedule"),
    "diffusion.loss_weight": mapping("one of loss_weight=..."),
    "diffusion.betas.end": number(0, 1, above=True, below=True),
    "diffusion.betas.snr_shift": POSITIVE,
    "diffusion.betas.start": number(0, 1, above=True, below=True),
    "diffusion.betas.zero_terminal": BOOLEAN,
    "diffusion.mean": number(),
    "diffusion.predicts": choice("epsilon_and_variance", "epsilon", "v"),
    "diffusion.shift": POSITIVE,
    "diffusion.std": POSITIVE,
    "diffusion.times": choice("uniform", "logit_normal"),
    "loss_weight.gamma": WEIGHT,
    "loss_weight.k": WEIGHT,
    "sampler.respaced": BOOLEAN,
    "sampler.scheduler.clip_sample": BOOLEAN,
    "sampler.scheduler.set_alpha_to_one": BOOLEAN,
    "sampler.scheduler.shift_terminal": number(0, 1, above=True, below=True),
    "sampler.scheduler.skip_prk_steps": BOOLEAN,
    "sampler.scheduler.solver_order": integer(1, 3),
    "sampler.scheduler.steps_offset": integer(),
    "sampler.scheduler.timestep_spacing": choice("linspace", "leading", "trailing"),
    "sampler.scheduler.prediction_type": choice("epsilon"),
    "sampler.scheduler.variance_type": choice(
        "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"
    ),
    "recipe.learning_rates.*": WEIGHT,
    "recipe.lr_scheduler.T_max": COUNT,
    "recipe.lr_scheduler.eta_min": WEIGHT,
    "recipe.lr_scheduler.start_factor": number(0, 1, above=True),
    "recipe.lr_scheduler.total_iters": COUNT,
    "recipe.optimizer.betas": list_of(number(0, 1, below=True), count=2),
    "recipe.optimizer.eps": WEIGHT,
    "recipe.optimizer.fused": optional(BOOLEAN),
    "recipe.optimizer.lr": WEIGHT,
    "recipe.optimizer.weight_decay": WEIGHT,
    **OF_TRAINER,
    "logger.*": mapping("the _target_ and arguments of a logger"),
    "logger.csv.path": PATH,
    "logger.wandb.group": MAYBE_TEXT,
    "logger.wandb.name": TEXT,
    "logger.wandb.project": TEXT,
    "logger.wandb.save_dir": PATH,
    "logger.wandb.sweep": optional(mapping("that of the run")),
    "logger.wandb.tags": list_of(TEXT, empty=True),
    "sweep.axes": mapping("values by the name of an axis"),
    "sweep.name": TEXT,
}
"""Keys that some values of groups bring, or that are added with +KEY=VALUE."""

OF_PATCH: dict[str, Kind] = {
    "run": MAYBE_PATH,
    "patch": MAYBE_PATH,
    "strength": number(),
    "classes": optional(list_of(integer())),
}

LAUNCHER: dict[str, Kind] = {
    "n_jobs": either_of(COUNT, integer(-1024, -1)),
    "timeout_min": COUNT,
    "max_num_timeout": integer(),
    "nodes": COUNT,
    "tasks_per_node": COUNT,
    "cpus_per_task": optional(COUNT),
    "gpus_per_node": optional(integer()),
    "mem_gb": optional(POSITIVE),
    "array_parallelism": COUNT,
    "ray.remote.num_cpus": optional(WEIGHT),
    "ray.remote.num_gpus": optional(WEIGHT),
    "ray.remote.max_retries": integer(-1),
}
"""Numbers of hydra.launcher, of whichever has them."""

COMMANDS: dict[str, dict[str, Kind]] = {
    "train": TRAIN,
    "export": TRAIN | {"run": MAYBE_PATH, "checkpoint": MAYBE_PATH, "output": PATH},
    "sample": TRAIN | OF_PATCH | {"compare": BOOLEAN, "seeds": list_of(SEED), "samples": COUNT},
    "evaluate": TRAIN | OF_PATCH | {"reference": MAYBE_PATH, "npz": BOOLEAN},
    "encode": ENCODE,
    "report": {"dir": MAYBE_PATH, "output": MAYBE_PATH, "wandb": MAYBE_TEXT},
}
"""Keys that a config of each command has."""


def kind_of(key: str, command: str) -> Kind | None:
    """The kind of a key, if the table has it; `*` in the table is one name of a path, or at its start any."""
    return (
        COMMANDS[command].get(key)
        or SOMETIMES.get(key)
        or next((kind for pattern, kind in SOMETIMES.items() if "*" in pattern and _matches(key, pattern)), None)
    )


def _matches(key: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return key.endswith(pattern[1:])
    given, wanted = key.split("."), pattern.split(".")
    return len(given) == len(wanted) and all(b in ("*", a) for a, b in zip(given, wanted, strict=True))
