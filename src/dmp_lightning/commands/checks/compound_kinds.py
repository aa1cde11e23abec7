"""Kinds that are made of others: lists, mappings, and one of several."""

from collections.abc import Mapping
from typing import Any

from dmp_lightning.commands.checks.kinds import NULL, PATH, TEXT, Kind, UnfitError, either, number, where


def list_of(kind: Kind, count: int | None = None, *, empty: bool = False, lone: bool = True) -> Kind:
    """A list of values of a kind, of `count` or of any number; where `lone`, a lone value is a list of one."""

    def take(value: Any) -> list:
        given = list(value) if isinstance(value, list | tuple) else [value] if lone else []
        if (count is not None and len(given) != count) or not (given or empty):
            raise UnfitError
        return [kind.take(each) for each in given]

    many = f" of {count}" if count is not None else "" if empty else " of one or more"
    return Kind(f"a list{many}, each {kind.possible}", take)


def interval(low: int | float, high: int | float) -> Kind:
    """Two numbers between these two, `[start, end]`."""
    inside = number(low, high)

    def take(value: Any) -> list:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise UnfitError
        start, end = map(inside.take, value)
        if start > end:
            raise UnfitError
        return [start, end]

    return Kind(f"[start, end], two numbers from {low:g} to {high:g}, the smaller first", take)


def either_of(*kinds: Kind) -> Kind:
    """A value of one of these kinds, the first that takes it."""

    def take(value: Any) -> Any:
        found = []
        for kind in kinds:
            try:
                return kind.take(value)
            except UnfitError as error:
                found.append(str(error))
        raise UnfitError(found[0])

    parts = [kind.possible for kind in kinds]
    return Kind(", or ".join(parts) if any("," in part or " or " in part for part in parts) else either(parts), take)


def optional(kind: Kind) -> Kind:
    """A value of that kind, or null."""
    return either_of(kind, NULL)


def mapping_of(kinds: Mapping[str, Kind], possible: str) -> Kind:
    """These keys, all of them, with a value of its kind each."""

    def take(value: Any) -> dict:
        if not isinstance(value, Mapping) or value.keys() != kinds.keys():
            raise UnfitError
        return {name: kind.take(value[name]) for name, kind in kinds.items()}

    return Kind(possible, take)


def mapping(possible: str) -> Kind:
    """A group of keys, which are checked one by one."""
    return where(possible, lambda value: isinstance(value, Mapping))


MAYBE_TEXT = optional(TEXT)
MAYBE_PATH = optional(PATH)
