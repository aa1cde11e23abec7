"""The values in a description: plain, of the types that their arguments take, and none beyond all measure."""

import inspect
import reprlib
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

from dmp_lightning.diffusion.process import Process
from dmp_lightning.user_error import UserError

LARGEST = 1_000_000
"""Of numbers: many more than there are prompts, ranks or steps."""


def check_plain(value: object, where: str, depth: int = 4) -> None:
    """Make sure that a value is of numbers, texts and containers of these.

    Raises:
        UserError: it describes a part, holds an interpolation, or is too large or too deep.
    """
    if depth == 0:
        raise UserError(f"{where} is nested too deeply.")
    if isinstance(value, str) and "${" in value:
        raise UserError(f"{where}={short(value)} is an interpolation, but a patch may hold only values.")
    if isinstance(value, int | float) and abs(value) > LARGEST:
        raise UserError(f"{where}={short(value)} is too large.")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key == "_target_":
            raise UserError(f"{where} describes an object, but needs a plain value.")
        check_plain(item, f"{where}.{short(key)}", depth - 1)


def fitting(value: Any, name: str, parameter: inspect.Parameter, where: str) -> Any:
    """The value, which a constructor takes as its `parameter`; of a list of betas, the schedule.

    Raises:
        UserError: it is of the wrong type.
    """
    if name == "betas":
        if isinstance(value, list) and all(isinstance(each, float) for each in value):
            value = torch.tensor(value, dtype=torch.float64, device="cpu")
        if not _is_schedule(value) and (value is not None or parameter.default is not None):
            raise UserError(f"{where} is not a schedule of numbers between 0 and 1.")
        return value
    if name == "process":
        if value is not None and not isinstance(value, Process):
            raise UserError(f"{where} is not a diffusion process.")
        return value
    try:
        kind: TypeAdapter = TypeAdapter(parameter.annotation, config=ConfigDict(strict=True, allow_inf_nan=False))
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):  # only of a class of the user's own
        return value
    try:
        kind.validate_python(value)
    except ValidationError as error:
        takes = inspect.formatannotation(parameter.annotation).replace("collections.abc.", "")
        raise UserError(f"{where}={short(value)} has the wrong type: it takes {takes}.") from error
    return value


def short(value: object) -> str:
    """A value of a file as an error shows it."""
    return value if isinstance(value, str) and len(value) < 80 else reprlib.repr(value)


def _is_schedule(value: object) -> bool:
    if not isinstance(value, Tensor) or value.ndim != 1 or not len(value):
        return False
    return bool((value > 0).all() and (value[:-1] < 1).all() and value[-1] <= 1)
