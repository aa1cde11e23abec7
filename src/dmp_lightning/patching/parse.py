"""Building the method that a patch file describes. The description is data: Hydra and OmegaConf never see it."""

import inspect
import re
import reprlib
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from pydantic import (
    ConfigDict,
    PydanticSchemaGenerationError,
    PydanticUndefinedAnnotation,
    TypeAdapter,
    ValidationError,
)
from torch import Tensor

from dmp_lightning.backbones import Backbone
from dmp_lightning.diffusion.process import Process
from dmp_lightning.methods import Method, read_patch
from dmp_lightning.methods.patches import PatchFile, check_shapes, put_on
from dmp_lightning.patching.description import BETAS, GATES, METHODS, PARTS, PROCESSES, Constructors
from dmp_lightning.patching.own_code import is_own
from dmp_lightning.prompts import Gate
from dmp_lightning.user_error import UserError

GIVEN = {"backbone", "width", "prompts", "snr"}
"""Arguments that a description does not give: the base's, those of the method for its gate, the process's own."""

DMP, DDPM = "dmp_lightning.methods.DMP", "dmp_lightning.diffusion.ddpm.DDPM"

LARGEST = 1_000_000
"""Of numbers: many more than there are prompts, ranks or steps."""


def patched(backbone: Backbone, patch: Path, strength: float = 1.0) -> Method:
    """The method that a patch file describes, with its weights, on `backbone`, which stays as it is.

    Raises:
        UserError: the file does not say how it was made, describes what is not known, or was made for another base.
    """
    return from_file(backbone, patch, read_patch(patch), strength)


def from_file(
    backbone: Backbone, path: Path, found: PatchFile, strength: float = 1.0, own: Constructors | None = None
) -> Method:
    """As `patched`, of a file that was read; `own` are gates from the caller, by the names that files may use."""
    settings = found.about.get("method")
    if settings is None:
        raise UserError(f"{path} does not say which method it is of: export it with python -m dmp_lightning.export.")
    try:
        build = described(settings, own)
        if not _holds_own(settings):
            with torch.device("meta"):  # before memory is taken for what the file only claims to hold
                check_shapes(build(backbone=backbone).exported(), found.tensors, path)
        method = build(backbone=backbone)
        if method.backbone is backbone and any(name.startswith("backbone.") for name in method.trained()):
            method = build(backbone=deepcopy(backbone))
    except ValueError as error:
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
    process = None if settings["betas"] is None else {"_target_": DDPM, "betas": settings["betas"]}
    return {name: value for name, value in settings.items() if name != "betas"} | {"process": process}


def _constructor(settings: object, known: Constructors, where: str, own: Constructors) -> Callable[..., Any]:
    if not isinstance(settings, dict):
        raise UserError(f"{where}={_short(settings)} is no mapping of options.")
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
                raise UserError(
                    f"{where}.{_short(name)} is no option of {target}: it has {', '.join(takes) or 'none'}."
                )
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
        _check_plain(value, where)
    if name == "betas":
        if isinstance(value, list) and all(isinstance(each, float) for each in value):
            value = torch.tensor(value, dtype=torch.float64)
        if not _is_schedule(value) and (value is not None or parameter.default is not None):
            raise UserError(f"{where} is no schedule of numbers between 0 and 1.")
        return value
    if name == "process":
        if value is not None and not isinstance(value, Process):
            raise UserError(f"{where} is no diffusion process.")
        return value
    try:
        kind: TypeAdapter = TypeAdapter(parameter.annotation, config=ConfigDict(strict=True, allow_inf_nan=False))
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):  # only of a class of the user's own
        return value
    try:
        kind.validate_python(value)
    except ValidationError as error:
        takes = inspect.formatannotation(parameter.annotation).replace("collections.abc.", "")
        raise UserError(f"{where}={_short(value)} is of the wrong type: it takes {takes}.") from error
    return value


def _check_plain(value: object, where: str, depth: int = 4) -> None:
    """Make sure that a value is of numbers, texts and containers of these, none of them beyond all measure."""
    if depth == 0:
        raise UserError(f"{where} is nested too deeply.")
    if isinstance(value, str) and "${" in value:
        raise UserError(f"{where}={_short(value)} is an interpolation: a patch holds values.")
    if isinstance(value, int | float) and abs(value) > LARGEST:
        raise UserError(f"{where}={_short(value)} is too large.")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key == "_target_":
            raise UserError(f"{where} describes a part, where a value is expected.")
        _check_plain(item, f"{where}.{_short(key)}", depth - 1)


def _is_schedule(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1 and len(value) > 0 and bool(((value > 0) & (value < 1)).all())


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
        f"{where}._target_={_short(target)} is not known here: choose from {', '.join(known)}; for code of your own, "
        "set DMP_TRUSTED to its package."
    )


def _holds_own(settings: dict[str, Any]) -> bool:
    parts = [settings, *(value for value in settings.values() if isinstance(value, dict) and "_target_" in value)]
    return not all(part["_target_"] in METHODS | GATES | PROCESSES | BETAS for part in parts)


def _short(value: object) -> str:
    return value if isinstance(value, str) and len(value) < 80 else reprlib.repr(value)
