"""Which base a patch of somebody else's model belongs to: class, config, repository, and hashes of the weights.

The hashes are of single tensors, because some cannot be had: those of a quantised base. They are the same for weights
in float32 and for the same weights in bfloat16 or float16, and with a LoRA beside them.
"""

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

DIGITS = 8  # of the hash of one tensor, hexadecimal
NUMBERS = 4096  # evenly spread, of each tensor: a whole model of 24 GB would take half a minute
UNKNOWN = "-" * DIGITS
FORMS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)[/\\]snapshots[/\\]([0-9a-f]{40})")
FREE = {"sample_size", "quantization_config"}
"""Keys of a config that do not change what the model computes."""


def identity(model: nn.Module) -> dict[str, Any]:
    """The description of a base in a patch file, as plain values."""
    return {
        "class": type(model).__name__,
        **_source(model),
        "config": _config(model),
        "weights": _hashes(model),
    }


def check_identity(model: nn.Module, recorded: object, path: str | Path) -> None:
    """Make sure that a patch file's base is this model. What cannot be compared, is said in a warning.

    Raises:
        UserError: it is another.
    """
    ours, kind = identity(model), type(model).__name__
    if not isinstance(recorded, dict) or recorded.get("class") != kind:
        of = recorded.get("class") if isinstance(recorded, dict) else "DiT of dmp-lightning"
        raise UserError(f"{path} is a patch of a {of}, not of a {kind}: load the base that it was trained on.")
    config = recorded.get("config")
    for key, value in ours["config"].items():
        there = config.get(key, value) if isinstance(config, dict) else value
        if there != value:
            raise UserError(
                f"{path} was trained on a {kind} of another config: {key} is {there!r} there, {value!r} here."
            )
    found = [_same(recorded.get("weights"), ours["weights"], form) for form in FORMS]
    if False in found:
        repo = recorded.get("repo")
        raise UserError(
            f"{path} was trained on another base ({repo or f'a {kind} with other weights'}) than the one loaded here: "
            "load its own base's weights."
        )
    if True not in found:
        log.warning(
            "%s: the base's weights cannot be compared with those that it was trained on, because of their types.", path
        )


def _same(recorded: object, ours: dict[str, str], form: str) -> bool | None:
    """Whether the tensors that both sides know are the same; None if there are none."""
    there, here = str(recorded.get(form, "")) if isinstance(recorded, dict) else "", ours[form]
    pairs = [
        (there[start : start + DIGITS], here[start : start + DIGITS])
        for start in range(0, max(len(there), len(here)), DIGITS)
    ]
    known = [one == other for one, other in pairs if UNKNOWN not in (one, other)]
    return all(known) if known and there else None


def _hashes(model: nn.Module) -> dict[str, str]:
    """The hashes of all parameters by form, in the order of the names that they have without a LoRA."""
    named = {
        name.replace(".base_layer.", "."): value for name, value in model.named_parameters() if ".lora_" not in name
    }
    some = [_some(value.detach()) for _, value in sorted(named.items())]
    return {form: "".join(_hash(values, form) for values in some) for form in FORMS}


def _some(value: Tensor) -> Tensor | None:
    """The numbers of a tensor that are hashed, on the CPU; None where it has none that can be read."""
    if type(value) is not Tensor or value.is_meta:
        return None
    return value.flatten()[:: max(1, value.numel() // NUMBERS)][:NUMBERS].cpu()


def _hash(some: Tensor | None, form: str) -> str:
    if some is None or str(some.dtype).removeprefix("torch.") not in ("float64", "float32", form):
        return UNKNOWN
    digest = hashlib.sha256(some.to(FORMS[form]).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:DIGITS]


def _config(model: nn.Module) -> dict[str, Any]:
    config = dict(getattr(model, "config", {}))
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}
    return {
        name: value
        for name, value in plain.items()
        if not name.startswith("_") and name not in FREE and isinstance(value, str | int | float | list | None)
    }


def _source(model: nn.Module) -> dict[str, str]:
    """Repository and revision, where the model was loaded from one."""
    name = str(getattr(getattr(model, "config", None), "_name_or_path", None) or "")
    cached = CACHED.search(name)
    if cached is not None:
        return {"repo": f"{cached[1]}/{cached[2]}", "revision": cached[3]}
    return {"repo": name} if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists() else {}
