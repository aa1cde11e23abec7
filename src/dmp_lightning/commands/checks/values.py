"""Checking a composed config: each value against the table of keys, before anything is built."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from dmp_lightning.commands.checks.arguments import annotated, check_arguments
from dmp_lightning.commands.checks.keys import COMMANDS, LAUNCHER, kind_of
from dmp_lightning.commands.checks.kinds import check
from dmp_lightning.commands.errors import mistake_in
from dmp_lightning.user_error import UserError

UNREAD = {"encode": "data"}
"""A group that a command takes a few values from, and that refers to what the command does not have."""


class Place(NamedTuple):
    """A value: the group that it is in, its name there, and the whole key."""

    group: DictConfig
    name: str
    key: str


def check_values(config: DictConfig, command: str, references: bool = True) -> None:
    """Make sure that each value is of the kind that its key takes, and write it as the product uses it.

    Args:
        references: whether to follow interpolations; those to a run can be followed in the run alone.

    Raises:
        UserError: one is not, or is missing, or refers to nothing.
    """
    referring = []
    for place in _places(config):
        if _refers(place):
            referring.append(place)
        else:
            _check(place, command)
    for key in COMMANDS[command]:
        if not _has(config, key):
            raise UserError(f"{key} is missing, but this command needs it: give it a value.")
    check_arguments(config, "", UNREAD.get(command))
    if references:
        _check_references(
            [place for place in referring if not place.key.startswith(f"{UNREAD.get(command)}.")], command
        )


def check_numbers(launcher: DictConfig) -> None:
    """Make sure that the numbers of a sweep's launcher are of their kinds.

    Raises:
        UserError: one is not, or refers to nothing.
    """
    for place in _places(launcher, "hydra.launcher"):
        kind = LAUNCHER.get(place.key.removeprefix("hydra.launcher."))
        if kind is not None:
            check(place.key, _value(place), kind)


def _check_references(places: list[Place], command: str) -> None:
    """Check what interpolations give; of several that fail, that one is told to which the others refer."""
    failed: dict[str, tuple[str, UserError]] = {}
    for place in places:
        try:
            _check(place, command)
        except UserError as error:
            failed[place.key] = (_raw(place), error)
    first = [
        error for key, (raw, error) in failed.items() if not any(f"{{{other}" in raw for other in failed.keys() - {key})
    ]
    for told in [*first, *(error for _, error in failed.values())]:  # or they refer to each other
        raise told


def _places(group: DictConfig, where: str = "") -> Iterator[Place]:
    """Each value and group of the config, but for Hydra's own part."""
    for name in list(group):
        place = Place(group, name, f"{where}.{name}".lstrip("."))
        if place.key == "hydra":
            continue
        yield place
        if not _refers(place):
            inner = group._get_node(name)
            if isinstance(inner, DictConfig) and not inner._is_none():
                yield from _places(inner, place.key)


def _refers(place: Place) -> bool:
    return OmegaConf.is_interpolation(place.group, place.name)


def _check(place: Place, command: str) -> None:
    if place.name in ("_target_", "_args_"):
        return
    kind, value = kind_of(place.key, command) or annotated(place.group, place.name), _value(place)
    if kind is None:
        if place.key.startswith("evaluation."):  # whose keys are arguments, of one function or another
            raise UserError(f"{place.key} has no effect on evaluations: leave it out.")
        return
    taken = check(place.key, value, kind)
    if not isinstance(taken, Mapping) and (type(taken) is not type(value) or repr(taken) != repr(value)):
        place.group[place.name] = taken


def _raw(place: Place) -> str:
    """The value as it is written."""
    return str(place.group._get_node(place.name)._value())  # type: ignore[union-attr]


def _value(place: Place) -> Any:
    """The value as plain containers.

    Raises:
        UserError: it is missing, or refers to nothing.
    """
    given = f"{place.key}={_raw(place)}" if _refers(place) else place.key
    try:
        found = place.group[place.name]
        return OmegaConf.to_container(found, resolve=not isinstance(found, DictConfig)) if _is_group(found) else found
    except MissingMandatoryValue:
        raise UserError(f"{place.key} is missing (???): give it a value.") from None
    except InterpolationKeyError as error:
        raise UserError(f"{given} refers to a missing key: {_first_line(error)}.") from error
    except RecursionError:
        raise UserError(f"{given} refers to itself: give it a value.") from None
    except OmegaConfBaseException as error:
        if mistake := mistake_in(error):
            raise UserError(str(mistake)) from error  # a resolver of ours has said what is wrong
        raise UserError(f"{given} cannot be resolved: {_first_line(error)}.") from error


def _is_group(value: Any) -> bool:
    return isinstance(value, DictConfig | ListConfig)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _has(config: DictConfig, key: str) -> bool:
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or name not in node:
            # What is in an optional group is not missing where there is no such group.
            return False
        node = node._get_node(name)
        while node is not None and node._is_interpolation():
            node = node._maybe_dereference_node()
    return True
