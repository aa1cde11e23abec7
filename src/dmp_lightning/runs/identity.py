"""Which runs are the same: the one table of config keys, each with the role that it plays in what a run finds."""

from collections.abc import Collection, Iterator, Mapping
from enum import Enum, auto
from typing import Any

from dmp_lightning.user_error import UserError


class Role(Enum):
    """How the findings of a run depend on a key."""

    SAMPLES = auto()  # samples of a model depend on it, and so does what is measured of them
    MEASURE = auto()  # what is measured of a model depends on it
    KEPT = auto()  # the last bits, or the pictures, of kept samples depend on it
    SOURCE = auto()  # says what weights or data are; their fingerprint tells whether they are the same
    CONTENT = auto()  # names a file of theirs, which may be moved
    TRAINING = auto()  # what training finds depends on it
    STEPS = auto()  # so it does, and a resumed run may have more
    COST = auto()  # seconds and memory depend on it
    REPLICATE = auto()  # runs that count as one differ in it; a run and its resumption do not
    COPY = auto()  # acts through another key
    FREE = auto()  # nothing depends on it
    PLACE = auto()  # says where a job runs or writes, or what it belongs to; the folder of a sweep stands for it


ROLES = {
    # The model, and how it is measured.
    "backbone": Role.SOURCE,
    "backbone.model": Role.SAMPLES,
    "backbone.weights": Role.CONTENT,
    "backbone.path": Role.CONTENT,
    "backbone.lora_targets": Role.COPY,  # to method.targets, if the method has them
    "diffusion": Role.SAMPLES,
    "sampler": Role.SAMPLES,
    "features": Role.MEASURE,
    "evaluation": Role.MEASURE,
    "evaluation.batch_size": Role.KEPT,
    "evaluation.guidance": Role.SAMPLES,
    "evaluation.seed": Role.SAMPLES,
    "evaluation.shown": Role.KEPT,
    "trainer.precision": Role.SAMPLES,
    "matmul_precision": Role.SAMPLES,
    "data": Role.SOURCE,
    "data.train.folder": Role.CONTENT,
    "data.train.pictures": Role.CONTENT,
    "data.train.texts": Role.CONTENT,
    "data.train.vae": Role.CONTENT,
    "data.validation.folder": Role.CONTENT,
    "data.validation.pictures": Role.CONTENT,
    "data.validation.texts": Role.CONTENT,
    "data.validation.vae": Role.CONTENT,
    # What is trained on it, and how.
    "method": Role.TRAINING,
    "method.process": Role.COPY,  # of diffusion
    "gate": Role.COPY,  # to method.gate, if the method has one
    "loss_weight": Role.COPY,  # to diffusion
    "dry_run": Role.COPY,  # to backbone.model
    "recipe": Role.TRAINING,
    "recipe.max_steps": Role.STEPS,
    "data.batch_size": Role.TRAINING,
    "budget": Role.TRAINING,
    "trainer": Role.TRAINING,
    "trainer.max_steps": Role.STEPS,
    "activation_checkpointing": Role.COST,
    "compile": Role.COST,
    "trainer.accelerator": Role.COST,
    "trainer.benchmark": Role.COST,
    "trainer.detect_anomaly": Role.COST,
    "trainer.deterministic": Role.COST,
    "trainer.inference_mode": Role.COST,
    "trainer.profiler": Role.COST,
    "seed": Role.REPLICATE,
    "data.seed": Role.REPLICATE,
    "recipe.validate_every": Role.REPLICATE,
    "trainer.val_check_interval": Role.REPLICATE,
    "data.workers": Role.FREE,
    "cost": Role.FREE,
    "label": Role.FREE,
    "recipe.checkpoint_every": Role.FREE,
    "trainer.enable_model_summary": Role.FREE,
    "trainer.enable_progress_bar": Role.FREE,
    "trainer.log_every_n_steps": Role.FREE,
    "base_results": Role.PLACE,
    "controls": Role.PLACE,
    "experiment": Role.PLACE,
    "launcher": Role.PLACE,
    "logger": Role.PLACE,
    "name": Role.PLACE,
    "resume": Role.PLACE,
    "run_dir": Role.PLACE,
    "sweep": Role.PLACE,
    "trainer.devices": Role.PLACE,
    "trainer.num_nodes": Role.PLACE,
    "trainer.strategy": Role.PLACE,
    # Of commands that use what was trained; each looks at these by itself.
    "run": Role.CONTENT,
    "patch": Role.CONTENT,
    "checkpoint": Role.CONTENT,
    "reference": Role.CONTENT,
    "strength": Role.SOURCE,
    "classes": Role.SOURCE,
    "seeds": Role.SOURCE,
    "samples": Role.SOURCE,
    "compare": Role.FREE,
    "npz": Role.FREE,
    "output": Role.PLACE,
}
"""Keys and groups with their roles; of several that a key is or lies below, the longest counts."""

SAMPLED = (Role.SAMPLES, Role.KEPT)
"""Of the keys that kept samples of a model depend on, besides its weights."""

MEASURED = (*SAMPLED, Role.MEASURE)
"""Of the keys that kept measurements of a model depend on, besides its weights and the data."""

RESUMABLE = (Role.PLACE, Role.FREE, Role.COST, Role.COPY, Role.KEPT, Role.CONTENT, Role.STEPS)
"""Of the keys that a resumed run may change: nothing it finds depends on them, or they are looked at by themselves."""


def within(key: str, group: str) -> bool:
    """Whether a key is `group` or below it."""
    return key == group or key.startswith(f"{group}.")


def role_of(key: str) -> Role | None:
    """The role of a dotted key, or None where the table does not cover it."""
    while key:
        if key in ROLES:
            return ROLES[key]
        key = key.rpartition(".")[0]
    return None


def known_role(key: str) -> Role:
    """The role of a dotted key.

    Raises:
        UserError: the table does not cover it.
    """
    role = role_of(key)
    if role is None:
        raise UserError(f"The config has an unknown key {key}: write its value where it is used.")
    return role


def settings(config: Mapping[str, Any], roles: Collection[Role]) -> dict[str, Any]:
    """The values of a resolved config, in plain containers, at all keys that have one of these roles.

    Raises:
        UserError: the table does not cover a key of the config, or the config lacks one that kept samples or
            measurements depend on: then two that differ would be taken for one.
    """
    values = dict(leaves(config))
    held = {key: known_role(key) for key in values}
    for key, role in ROLES.items():
        if role in MEASURED and not any(within(each, key) for each in values):
            raise UserError(f"The config lacks {key}, on which the measurements depend: give it a value.")
    return {key: values[key] for key, role in sorted(held.items()) if role in roles}


def leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Each value in nested containers with its dotted key; lists and empty containers are values."""
    if not isinstance(node, Mapping) or not node:
        yield where, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{where}.{key}".lstrip("."))
