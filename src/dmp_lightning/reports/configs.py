"""Configs as flat tables of what matters: which runs are seeds of one, and in what others differ."""

import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from dmp_lightning.runs.texts import cut

ABSENT = "–"

IRRELEVANT = (
    "base_results",
    "controls",
    "data.seed",
    "data.workers",
    "evaluation.batch_size",
    "evaluation.shown",
    "gate",  # it acts through method.gate, and so does loss_weight through diffusion
    "label",
    "launcher",
    "logger",
    "loss_weight",
    "method.betas",
    "name",
    "recipe.checkpoint_every",
    "recipe.validate_every",
    "resume",
    "run_dir",
    "seed",
    "sweep",
    "trainer.devices",
    "trainer.log_every_n_steps",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.val_check_interval",
)
"""Keys, with all below them, that do not change what a run finds, or that stand elsewhere as well."""

REPEATED = {
    "data.batch_size": "recipe.batch_size",
    "recipe.lr_scheduler.T_max": "recipe.max_steps",
    "trainer.max_steps": "recipe.max_steps",
}
"""Keys that by default take the value of another: they are left out where they do."""

LATER = {"backbone.model.timestep_frequencies": "release", "backbone.predicts": "null"}
"""Keys that earlier versions lack, and the value that these stand for: there they are left out."""

CHOSEN = {"seconds": "recipe.max_steps"}
"""By what a budget makes equal, the key whose value it chooses for each run anew: it is left out, too."""

Flat = dict[str, str]


def flatten(config: Mapping[str, Any]) -> Flat:
    """What matters of a config by dotted key, as text; what a `_target_` names stands at the key of its parent."""
    flat = {key: value for key, value in _leaves(config, "") if not _below(key, IRRELEVANT)}
    flat = {key: value for key, value in flat.items() if LATER.get(key) != value}
    for key, source in REPEATED.items():
        if key in flat and flat[key] == flat.get(source):
            del flat[key]
    flat.pop(CHOSEN.get(flat.get("budget.equal", ""), ""), None)
    return flat


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key of a config that may hold anything; None where there is none."""
    found: Any = config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def differing(configs: Iterable[Flat]) -> list[str]:
    """The keys at which not all configs have the same value, sorted."""
    configs = list(configs)
    keys = sorted({key for config in configs for key in config})
    return [key for key in keys if len({config.get(key, ABSENT) for config in configs}) > 1]


def part(config: Flat, prefixes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The items at `prefixes` and below them, sorted, as something that can be compared."""
    return tuple(sorted((key, value) for key, value in config.items() if _below(key, prefixes)))


def without(config: Flat, prefixes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """All other items."""
    return tuple(sorted((key, value) for key, value in config.items() if not _below(key, prefixes)))


def short(key: str) -> str:
    """A key as one says it: `method.gate.top_k` is the gate's."""
    return key.removeprefix("method.").removeprefix("recipe.").replace("learning_rates.", "rate of ")


def as_text(value: Any) -> str:
    """A value of a config as it is typed."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return f"{value:.1f}"
    return cut(value if isinstance(value, str) else json.dumps(value))


def by_value(text: str) -> tuple[int, float, str]:
    """Sorts numbers by size, and then texts."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    return (1, 0.0, text) if math.isnan(number) else (0, number, text)  # what is no number has no place among them


@lru_cache(maxsize=10_000)
def _below(key: str, prefixes: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _leaves(node: Any, where: str) -> Iterable[tuple[str, str]]:
    if not isinstance(node, Mapping) or not node:
        yield where, as_text(node)
        return
    for key, value in node.items():
        path = f"{where}.{cut(key)}".lstrip(".")
        if key == "_target_":
            yield where, str(value).rpartition(".")[2]
        elif key != "_partial_":
            yield from _leaves(value, path)
