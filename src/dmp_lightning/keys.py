"""The table of the config's keys, and the kind of value that each takes."""

from dmp_lightning.kinds import (
    BOOLEAN,
    COUNT,
    FRACTION,
    MAYBE_PATH,
    MAYBE_TEXT,
    PATH,
    POSITIVE,
    SEED,
    TEXT,
    WEIGHT,
    Kind,
    choice,
    constant,
    either_of,
    integer,
    interval,
    list_of,
    mapping,
    mapping_of,
    number,
    optional,
    pattern,
)

PARTIAL = constant(True, "as it is built later")
BALANCE = mapping_of({"importance": WEIGHT, "load": WEIGHT}, "weights of importance and load, each a number from 0")
INJECTION = pattern(r"all|every:\d+|(first|last):(\d+|[1-9]\d*/[1-9]\d*)", "all, first:n, last:n, every:n, first:1/2")
PROMPT_COUNT = pattern(r"(\d+\*)?tokens(/[1-9]\d*)?", "a text such as tokens, tokens/4 or 2*tokens")
DEVICES = pattern(r"auto|\d+(,\d+)*", "auto or numbers as in 0,1")
LABEL = integer()

OF_METHODS: dict[str, Kind] = {
    "balance": either_of(choice("released"), BALANCE),
    "injection": either_of(INJECTION, list_of(LABEL)),
    "prompt_count": optional(either_of(COUNT, PROMPT_COUNT)),
    "position": choice("add", "prepend"),
    "init": choice("zero", "normal", "xavier"),
    "condition": choice("timestep", "timestep_and_label", "log_snr"),
    "rank": COUNT,
    "alpha": POSITIVE,
    "targets": list_of(TEXT),
    "betas": mapping("a noise schedule"),
    "gate": mapping("one of gate=..."),
}

TRAIN: dict[str, Kind] = {
    "backbone": mapping("one of backbone=..."),
    "backbone.weights": MAYBE_PATH,
    "backbone.part": optional(choice("ema", "model")),
    "backbone.dtype": choice("float32", "bfloat16"),
    "backbone.labels": either_of(
        list_of(optional(LABEL)), mapping("a map from old labels to new"), choice("strict", "reinit"), PATH
    ),
    "backbone.model": mapping("the arguments of a model"),
    "method": mapping("one of method=..."),
    "gate": mapping("one of gate=..."),
    "data": mapping("one of data=..."),
    "data.train": mapping("the arguments of a data set"),
    "data.validation": mapping("the arguments of a data set"),
    "data.batch_size": COUNT,
    "data.workers": integer(0, 1024),
    "data.seed": SEED,
    "diffusion": mapping("one of diffusion=..."),
    "diffusion.betas": mapping("a noise schedule"),
    "diffusion.loss_weight": mapping("one of loss_weight=..."),
    "loss_weight": mapping("one of loss_weight=..."),
    "sampler": mapping("one of sampler=..."),
    "sampler.steps": COUNT,
    "sampler.scheduler": mapping("the arguments of a scheduler"),
    "features": mapping("one of features=..."),
    "evaluation": mapping("one of evaluation=..."),
    "evaluation.seed": SEED,
    "evaluation.samples": COUNT,
    "evaluation.batch_size": COUNT,
    "evaluation.shown": integer(),
    "evaluation.strata": COUNT,
    "evaluation.guidance": mapping("guidance_scale, channels and interval"),
    "evaluation.guidance.guidance_scale": number(),
    "evaluation.guidance.channels": choice("first_three", "all"),
    "evaluation.guidance.interval": interval(0, 1),
    "recipe": mapping("one of recipe=..."),
    "recipe.batch_size": COUNT,
    "recipe.max_steps": COUNT,
    "recipe.learning_rates": mapping("rates by the name of a group of parameters"),
    "recipe.rates_times_prompt_count": list_of(TEXT, empty=True),
    "recipe.optimizer": mapping("the _target_ and arguments of an optimiser"),
    "recipe.lr_scheduler": optional(mapping("the _target_ and arguments of a schedule")),
    "recipe.ema_decay": optional(number(0, 1, below=True)),
    "recipe.validate_every": COUNT,
    "recipe.checkpoint_every": COUNT,
    "trainer": mapping("one of trainer=..."),
    "trainer.accelerator": choice("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.devices": either_of(COUNT, DEVICES, list_of(LABEL, lone=False)),
    "trainer.num_nodes": COUNT,
    "trainer.strategy": either_of(
        choice("auto", "ddp", "ddp_find_unused_parameters_true"), mapping("one of trainer=...")
    ),
    "trainer.precision": choice("32-true", "bf16-mixed"),
    "trainer.max_steps": COUNT,
    "trainer.max_epochs": constant(-1, "as steps count here: set recipe.max_steps"),
    "trainer.val_check_interval": COUNT,
    "trainer.check_val_every_n_epoch": constant(None, "as steps count here: set recipe.validate_every"),
    "trainer.gradient_clip_val": optional(WEIGHT),
    "trainer.log_every_n_steps": COUNT,
    "trainer.num_sanity_val_steps": integer(-1),
    "trainer.use_distributed_sampler": constant(False, "as the data are shared among processes already"),
    "trainer.enable_model_summary": BOOLEAN,
    "logger": mapping("one of logger=..."),
    "budget": optional(mapping("parameters or seconds")),
    "sweep": optional(mapping("one of +sweep=...")),
    "label": MAYBE_TEXT,
    "name": TEXT,
    "seed": SEED,
    "compile": BOOLEAN,
    "activation_checkpointing": BOOLEAN,
    "matmul_precision": choice("highest", "high", "medium"),
    "resume": MAYBE_PATH,
    "controls": MAYBE_PATH,
    "base_results": PATH,
    "run_dir": PATH,
}
"""Keys that each config of training has."""

SOMETIMES: dict[str, Kind] = {
    "*._partial_": PARTIAL,
    **{f"method.{name}": kind for name, kind in OF_METHODS.items()},
    **{f"budget.of.{name}": kind for name, kind in OF_METHODS.items()},
    "budget.equal": choice("parameters", "seconds"),
    "budget.seconds": optional(POSITIVE),
    "budget.of": optional(either_of(PATH, mapping("one of method@budget.of=..."))),
    "backbone.model.class_dropout_prob": FRACTION,
    **{
        f"backbone.model.{name}": COUNT
        for name in ("input_size", "in_channels", "patch_size", "width", "depth", "heads", "num_classes")
    },
    "gate.top_k": number(0, 1, above=True),
    "gate.weight_scale": choice("sum", "mean"),
    "data.*.count": COUNT,
    "data.*.folder": PATH,
    "data.*.num_classes": COUNT,
    "data.*.sample_shape": list_of(COUNT, count=3),
    "data.*.train": BOOLEAN,
    "data.*.vae": PATH,
    "features.shape": list_of(COUNT, count=3),
    "features.weights": MAYBE_PATH,
    "loss_weight.gamma": WEIGHT,
    "loss_weight.k": WEIGHT,
    "sampler.respaced": BOOLEAN,
    "sampler.scheduler.clip_sample": BOOLEAN,
    "sampler.scheduler.solver_order": integer(1, 3),
    "sampler.scheduler.variance_type": TEXT,
    "recipe.learning_rates.*": WEIGHT,
    "recipe.lr_scheduler.T_max": COUNT,
    "recipe.lr_scheduler.eta_min": WEIGHT,
    "recipe.optimizer.betas": list_of(number(0, 1, below=True), count=2),
    "recipe.optimizer.eps": WEIGHT,
    "recipe.optimizer.fused": optional(BOOLEAN),
    "recipe.optimizer.lr": WEIGHT,
    "recipe.optimizer.weight_decay": WEIGHT,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.inference_mode": BOOLEAN,
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
    "sweep.startup_trials": COUNT,
    "sweep.study": PATH,
    "sweep.trial": optional(integer()),
}
"""Keys that some values of groups bring, or that are added with +KEY=VALUE."""

OF_PATCH: dict[str, Kind] = {
    "run": MAYBE_PATH,
    "patch": MAYBE_PATH,
    "strength": number(),
    "classes": optional(list_of(LABEL)),
}

COMMANDS: dict[str, dict[str, Kind]] = {
    "train": TRAIN,
    "export": TRAIN | {"run": MAYBE_PATH, "checkpoint": MAYBE_PATH, "output": PATH},
    "sample": TRAIN | OF_PATCH | {"compare": BOOLEAN, "seeds": list_of(SEED), "samples": COUNT},
    "evaluate": TRAIN | OF_PATCH | {"reference": MAYBE_PATH, "npz": BOOLEAN},
    "encode": {
        "source": MAYBE_PATH,
        "verify": MAYBE_PATH,
        "out": PATH,
        "vae": PATH,
        "labels": TEXT,
        "resolution": optional(COUNT),
        "shard_mb": COUNT,
        "batch_size": COUNT,
        "workers": integer(0, 1024),
        "on_error": choice("fail", "skip"),
    },
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
