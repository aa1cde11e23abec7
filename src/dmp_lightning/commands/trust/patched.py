"""Building the method that a patch file describes. The description is data: Hydra and OmegaConf never see it."""

import inspect
import reprlib
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
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

from dmp_lightning import methods, prompts
from dmp_lightning.backbones import Backbone
from dmp_lightning.commands.trust.trusted import TRUSTED, is_own
from dmp_lightning.diffusion import ddpm, schedule, weighting
from dmp_lightning.diffusion.process import Process
from dmp_lightning.methods import Method, load_patch, read_patch
from dmp_lightning.methods.patches import check_shapes
from dmp_lightning.prompts import Gate
from dmp_lightning.user_error import UserError

Constructors = dict[str, Callable[..., Any]]


def _known(module: ModuleType) -> Constructors:
    """What a config may build of a module, by name."""
    prefix = f"{module.__name__}."
    return {name: getattr(module, name.removeprefix(prefix)) for name in sorted(TRUSTED) if name.startswith(prefix)}


METHODS, GATES = _known(methods), _known(prompts)
PROCESSES, BETAS, WEIGHTS = _known(ddpm), _known(schedule), _known(weighting)
PARTS = {"gate": GATES, "process": PROCESSES, "betas": BETAS, "loss_weight": WEIGHTS}
"""Constructors that a description may name for an argument, by the argument's name."""

GIVEN = {"backbone", "width", "prompts", "snr"}
"""Arguments that a description does not give: the base's, those of the method for its gate, the process's own."""

DMP, DDPM = "dmp_lightning.methods.DMP", "dmp_lightning.diffusion.ddpm.DDPM"

LARGEST = 1_000_000
"""Of whole numbers: many more than there are prompts, ranks or steps."""


def patched(backbone: Backbone, patch: Path, strength: float = 1.0) -> Method:
    """The method that a patch file describes, with its weights, on `backbone`, which stays as it is.

    Raises:
        UserError: the file does not say how it was made, describes what is not known, or was made for another base.
    """
    found = read_patch(patch)
    settings = found.about.get("method")
    if settings is None:
        raise UserError(f"{patch} does not say which method it is of: export it with python -m dmp_lightning.export.")
    try:
        build = described(settings)
        if not _holds_own(settings):
            with torch.device("meta"):  # before memory is taken for what the file only claims to hold
                check_shapes(build(backbone=backbone).exported(), found.tensors, patch)
        method = build(backbone=backbone)
        if method.backbone is backbone and any(name.startswith("backbone.") for name in method.trained()):
            method = build(backbone=deepcopy(backbone))
    except UserError as error:
        raise UserError(f"The patch {patch} cannot be used: {error}") from error
    return load_patch(method, patch, strength)


def described(settings: object) -> Callable[..., Method]:
    """What builds the method on a `backbone`; the description comes from a file, and nothing in it is taken on trust.

    Raises:
        UserError: it names a class, or an option of one, that is not known, or a value of another type.
    """
    return _constructor(_of_today(settings), METHODS, "method")


def _of_today(settings: object) -> object:
    """The description, where an earlier version wrote the `betas` of a DMP's process, not the process."""
    if not isinstance(settings, dict) or settings.get("_target_") != DMP:
        return settings
    if "betas" not in settings or "process" in settings:
        return settings
    process = None if settings["betas"] is None else {"_target_": DDPM, "betas": settings["betas"]}
    return {name: value for name, value in settings.items() if name != "betas"} | {"process": process}


def _constructor(settings: object, known: Constructors, where: str) -> Callable[..., Any]:
    if not isinstance(settings, dict):
        raise UserError(f"{where}={_short(settings)} is no mapping of options.")
    target = settings.get("_target_")
    constructor = known.get(target) if isinstance(target, str) else None
    if constructor is None:
        constructor = _own(target, known, where)
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
            arguments[name] = _value(value, name, parameter, f"{where}.{name}")
    missing = [name for name, each in takes.items() if each.default is each.empty and name not in arguments]
    if missing and rest is None:
        raise UserError(f"{where} lacks {', '.join(missing)}, which {target} needs.")
    return partial(constructor, **arguments)


def _value(value: Any, name: str, parameter: inspect.Parameter, where: str) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        part = _constructor(value, PARTS.get(name, GATES | BETAS), where)
        value = part if name in ("gate", "loss_weight") or value.get("_partial_") is True else part()
    else:
        _check_plain(value, where)
    if name == "betas":
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
    if isinstance(value, int) and abs(value) > LARGEST:
        raise UserError(f"{where}={_short(value)} is too large.")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key == "_target_":
            raise UserError(f"{where} describes a part, where a value is expected.")
        _check_plain(item, f"{where}.{_short(key)}", depth - 1)


def _is_schedule(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1 and len(value) > 0 and bool(((value > 0) & (value < 1)).all())


def _own(target: object, known: Constructors, where: str) -> Callable[..., Any]:
    """The class `target` of the user's own packages: a method or a gate, where one of these is wanted."""
    if isinstance(target, str) and is_own(f"{where}._target_", target):
        module, _, name = target.rpartition(".")
        found = getattr(import_module(module), name)
        kind = Method if known is METHODS else Gate if known is GATES else object
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
