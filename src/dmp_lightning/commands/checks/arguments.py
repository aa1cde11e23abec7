"""Arguments of what the config builds: it takes those that it is given, of their kind, and is given all it needs."""

import inspect
from difflib import get_close_matches
from typing import Any, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.checks.compound_kinds import optional
from dmp_lightning.commands.checks.kinds import BOOLEAN, Kind, integer, number
from dmp_lightning.user_error import UserError

LATER = {
    "backbone.model": {"path"},
    "gate": {"width", "prompts"},
    "loss_weight": {"snr"},
    "method": {"backbone"},
    "recipe.lr_scheduler": {"optimizer"},
    "recipe.optimizer": {"params"},
}
"""Arguments that come when what is partial is built."""

SPECIAL = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
"""Hydra's own keys."""


def check_arguments(group: DictConfig, where: str, unread: str | None) -> None:
    """Make sure that what is built takes the arguments that it is given, and is given those that it needs.

    Raises:
        UserError: it does not, or is not.
    """
    for name in map(str, group):
        key = f"{where}.{name}".lstrip(".")
        inner = None if key in ("hydra", unread) or OmegaConf.is_interpolation(group, name) else group._get_node(name)
        if isinstance(inner, DictConfig) and not inner._is_none():
            if "_target_" in inner and not OmegaConf.is_interpolation(inner, "_target_"):
                _check_call(inner, key)
            check_arguments(inner, key, unread)


def _check_call(group: DictConfig, key: str) -> None:
    target = str(group._target_)
    try:
        takes = inspect.signature(get_object(target)).parameters
    except (ValueError, TypeError):  # of what is written in C
        return
    given = {str(name) for name in group} - {*SPECIAL}
    names = {name for name, each in takes.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
    unknown = sorted(given - names)
    if unknown and not any(each.kind == each.VAR_KEYWORD for each in takes.values()):
        close = get_close_matches(unknown[0], names, n=1)
        hint = f"did you mean {close[0]}?" if close else "leave it out."
        raise UserError(f"{target} has no argument {unknown[0]} ({key}.{unknown[0]}): {hint}")
    needed = {name for name in names if takes[name].default is inspect.Parameter.empty}
    lacking = sorted(needed - given - LATER.get(key, set()))
    if lacking and "_args_" not in group and (not group.get("_partial_") or key in LATER):
        raise UserError(f"{key}.{lacking[0]} is missing, which {target} needs: give it a value.")


def annotated(group: DictConfig, name: str) -> Kind | None:
    """The kind of an argument that the table does not have, by the annotation of what takes it."""
    if "_target_" not in group or OmegaConf.is_interpolation(group, "_target_"):
        return None
    target = str(group._target_)
    try:
        built = get_object(target)
        hint = get_type_hints(built.__init__ if inspect.isclass(built) else built).get(name)
    except (TypeError, NameError, AttributeError):
        return None
    kinds: dict[Any, Kind] = {int: integer(-(2**31)), float: number(), bool: BOOLEAN}
    plain = kinds | {kind | None: optional(found) for kind, found in kinds.items()}
    return plain.get(hint)
