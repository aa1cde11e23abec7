"""The table of the config's keys, by command, and the kind of value that each takes."""

from dmp_lightning.commands.checks.compound_kinds import (
    MAYBE_PATH,
    MAYBE_TEXT,
    either_of,
    list_of,
    optional,
)
from dmp_lightning.commands.checks.keys_of_groups import SOMETIMES
from dmp_lightning.commands.checks.keys_of_training import TRAIN
from dmp_lightning.commands.checks.kinds import Kind
from dmp_lightning.commands.checks.plain_kinds import (
    BOOLEAN,
    COUNT,
    PATH,
    POSITIVE,
    SEED,
    WEIGHT,
    choice,
    integer,
    number,
)

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
    "encode": {
        "source": MAYBE_PATH,
        "verify": MAYBE_PATH,
        "out": PATH,
        "vae": PATH,
        "labels": choice("auto", "folders", "none"),
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
