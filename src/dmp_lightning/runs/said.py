"""The parts of a record that say which base was measured, how, and what was trained on it, told from a config once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dmp_lightning.runs.identity import Role, known_role, leaves
from dmp_lightning.runs.texts import cut

Flat = dict[str, str]
"""Settings as texts by dotted key; what a `_target_` names stands at the key of its parent, and null is left out."""

UNSAID = (Role.KEPT, Role.REPLICATE, Role.COPY, Role.FREE, Role.PLACE)
TRAINED = (Role.TRAINING, Role.STEPS, Role.COST)
MODEL = ("backbone", "diffusion")  # groups that tell bases apart

REPEATED = {
    "data.batch_size": "recipe.batch_size",
    "recipe.lr_scheduler.T_max": "recipe.max_steps",
    "trainer.max_steps": "recipe.max_steps",
}
"""Keys that by default take the value of another: they are left out where they do."""

CHOSEN = {"seconds": "recipe.max_steps"}
"""By what a budget makes equal, the key whose value it chooses for each run anew: it is left out, too."""


@dataclass(frozen=True)
class SaidBase:
    """The base: its `name` for people, its number of `parameters`, and the `settings` that tell bases apart."""

    name: str
    parameters: int
    settings: Flat


@dataclass(frozen=True)
class SaidMeasure:
    """How quality was measured: only models with equal measures can be compared.

    `metric` is the key of the Fréchet distance among the metrics (None where several were measured), compared with so
    many `reference_images` by so many `features` (None where not known). `too_few` names the distances of no more
    images than features.
    """

    metric: str | None
    reference_images: int | None
    features: int | None
    too_few: list[str]
    settings: Flat


@dataclass(frozen=True)
class SaidMethod:
    """The method: a `label` for tables, its `kind` whatever its settings, and how many `parameters` it trained."""

    label: str
    kind: str
    parameters: int
    settings: Flat


class Parts(NamedTuple):
    """Settings that a finding depends on, by what they say of it."""

    base: Flat
    measure: Flat
    method: Flat


def parts(config: Mapping[str, Any]) -> Parts:
    """The settings of a resolved config, parted.

    Raises:
        UserError: the table of keys does not cover one.
    """
    flat: Flat = {}
    for key, value in leaves(config):
        name = key.removesuffix("._target_")
        if known_role(name) not in UNSAID and value is not None and not key.endswith("._partial_"):
            flat[cut(name)] = str(value).rpartition(".")[2] if key != name else as_text(value)
    for key, source in REPEATED.items():
        if key in flat and flat[key] == flat.get(source):
            del flat[key]
    flat.pop(CHOSEN.get(flat.get("budget.equal", ""), ""), None)
    found = Parts({}, {}, {})
    for key, text in sorted(flat.items()):
        group = key.partition(".")[0]
        part = found.base if group in MODEL else found.method if known_role(key) in TRAINED else found.measure
        part[key] = text
    return found


def base_name(config: Mapping[str, Any]) -> str:
    """The name of a base in tables: that of the file of its weights, or of its folder or repository."""
    weights, path = config["backbone"].get("weights"), config["backbone"].get("path")
    if weights is not None and path is not None:
        return cut(Path(path).name)
    return "random weights" if weights is None else cut(Path(weights).stem)


def in_sweep(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `sweep` and `axes` of a record: the sweep that a run belongs to, and where it stands in it."""
    sweep = config.get("sweep") or {}
    return {"sweep": sweep.get("name"), "axes": dict(sweep.get("axes") or {})}


def as_text(value: Any) -> str:
    """A value of a config as it is typed."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return f"{value:.1f}"
    return cut(value if isinstance(value, str) else json.dumps(value))
