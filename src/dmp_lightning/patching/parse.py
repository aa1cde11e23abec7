"""Building the method that a patch file describes. The description is data: Hydra and OmegaConf never see it."""

import inspect
import re
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from dmp_lightning.backbones import Backbone
from dmp_lightning.methods import Method
from dmp_lightning.methods.patches import PatchFile, check_kind, check_shapes, put_on
from dmp_lightning.patching.description import BETAS, DMP, GATES, METHODS, PARTS, PROCESS, PROCESSES, Constructors
from dmp_lightning.patching.own_code import is_own
from dmp_lightning.patching.values import check_plain, fitting, short
from dmp_lightning.prompts import Gate
from dmp_lightning.user_error import UserError

GIVEN = {"backbone", "width", "prompts", "snr"}
"""Arguments that a description does not give: the base's, those of the method for its gate, the process's own."""


def from_file(
    backbone: Backbone, path: Path, found: PatchFile, strength: float = 1.0, own: Constructors | None = None
) -> Method:
    """The method that a patch file describes, with its weights, on `backbone`, which stays as it is.

    Args:
        path, found: where the file is, and what was read from it. strength: see `load_patch`.
        own: gates from the caller, by the names that files may use.

    Raises:
        UserError: the file does not say how it was made, describes what is not known, or was made for another base.
    """
    check_kind(backbone, found, path)
    settings = found.about.get("method")
    if settings is None:
        raise UserError(f"{path} does not name its method: export it with python -m dmp_lightning.export.")
    try:
        build = described(settings, own)
        if not _holds_own(settings):
            with torch.device("meta"):  # before memory is taken for what the file only claims to hold
                check_shapes(build(backbone=backbone).exported(), found.tensors, path)
        method = build(backbone=backbone)
        if method.backbone is backbone and any(name.startswith("backbone.") for name in method.trained()):
            method = build(backbone=deepcopy(backbone))
    except UserError as error:
        raise UserError(f"The patch {path} cannot be used: {error}") from error
    return put_on(method, found, path, strength)


def described(settings: object, own: Constructors | None = None) -> Callable[..., Method]:
    """The function that builds the method on a `backbone`. The description is a file's: none of it is taken on trust.

    Args:
        own: gates that may be named besides ours, given by the caller.

    Raises:
        UserError: it names a class, or an option of one, that is not known, or a value of another type.
    """
    return _constructor(_of_today(settings), METHODS, "method", own or {})


def _of_today(settings: object) -> object:
    """The description, where an earlier version wrote `tokens/4` for a number of prompts, or a DMP's `betas` alone."""
    if not isinstance(settings, dict):
        return settings
    share = re.fullmatch(r"(?:(\d{1,6})\*)?tokens(?:/([1-9]\d{0,5}))?", str(settings.get("prompt_count")))
    if share is not None:
        settings = settings | {"prompt_count": int(share[1] or 1) / int(share[2] or 1)}
    if settings.get("_target_") != DMP or "betas" not in settings or "process" in settings:
        return settings
    process = None if settings["betas"] is None else {"_target_": PROCESS, "betas": settings["betas"]}
    return {name: value for name, value in settings.items() if name != "betas"} | {"process": process}


def _constructor(settings: object, known: Constructors, where: str, own: Constructors) -> Callable[..., Any]:
    if not isinstance(settings, dict):
        raise UserError(f"{where}={short(settings)} is not a mapping of options.")
    target = settings.get("_target_")
    constructor = known.get(target) if isinstance(target, str) else None
    if constructor is None:
        constructor = _own(target, known, where, own)
    takes = {name: each for name, each in inspect.signature(constructor).parameters.items() if name not in GIVEN}
    rest = next((each for each in takes.values() if each.kind is each.VAR_KEYWORD), None)
    arguments = {}
    for name, value in settings.items():
        if name not in ("_target_", "_partial_"):
            parameter = takes.get(name, rest)
            if parameter is None:
                options = ", ".join(takes) or "none"
                raise UserError(f"{where}.{short(name)} is not an option of {target}: it has {options}.")
            arguments[name] = _value(value, name, parameter, f"{where}.{name}", own)
    missing = [name for name, each in takes.items() if each.default is each.empty and name not in arguments]
    if missing and rest is None:
        raise UserError(f"{where} lacks {', '.join(missing)}, which {target} needs.")
    return partial(constructor, **arguments)


def _value(value: Any, name: str, parameter: inspect.Parameter, where: str, own: Constructors) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        part = _constructor(value, PARTS.get(name, GATES | BETAS), where, own)
        value = part if name in ("gate", "loss_weight") or value.get("_partial_") is True else part()
    else:
        check_plain(value, where)
    return fitting(value, name, parameter, where)


def _own(target: object, known: Constructors, where: str, own: Constructors) -> Callable[..., Any]:
    """The class `target` of the user's: a gate that the caller gave, or a gate or method of a trusted package."""
    kind = Method if known is METHODS else Gate if known is GATES else object
    found: Any = own.get(target) if isinstance(target, str) else None
    if found is None and isinstance(target, str) and is_own(f"{where}._target_", target):
        module, _, name = target.rpartition(".")
        found = getattr(import_module(module), name)
    if callable(found) and (kind is object or (isinstance(found, type) and issubclass(found, kind))):
        return found
    raise UserError(
        f"{where}._target_={short(target)} is not known here: choose from {', '.join(known)}; for your own code, set "
        "DMP_TRUSTED to its package."
    )


def _holds_own(settings: dict[str, Any]) -> bool:
    parts = [settings, *(value for value in settings.values() if isinstance(value, dict) and "_target_" in value)]
    return not all(part["_target_"] in METHODS | GATES | PROCESSES | BETAS for part in parts)
