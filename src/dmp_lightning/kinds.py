"""Kinds of values: what a key of the config takes, in words and as a check."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 2**31 - 1
"""Of whole numbers that count something."""
LARGEST_SEED = 2**32 - 1
"""NumPy's generators take no larger one."""


class UnfitError(ValueError):
    """A value is not of a kind; the text adds to what is possible, or is empty."""


@dataclass(frozen=True)
class Kind:
    """What is `possible`, as a sentence says it after "choose", and how a value is taken.

    `take` returns the value as the product uses it: `[3]` for `3` where a list is wanted.

    Raises:
        UnfitError: `take` does, of what is not of this kind.
    """

    possible: str
    take: Callable[[Any], Any]


def check(key: str, value: Any, kind: Kind) -> Any:
    """The value as the product uses it.

    Raises:
        ValueError: it is not of that kind; says the key, what was given and what is possible.
    """
    try:
        return kind.take(value)
    except UnfitError as error:
        more = f" {error}" if str(error) else ""
        raise ValueError(f"{key}={shown(value)}: choose {kind.possible}.{more}") from None


def shown(value: Any) -> str:
    """A value as it is typed: `null`, `true`, `[1, 2]`, and a text in quotes where it would be taken for another."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if not isinstance(value, str):
        return str(value)
    short = value if len(value) <= 80 else f"{value[:77]}..."
    plain = short and short.isprintable() and short == short.strip() and not _reads_otherwise(short)
    return short if plain else repr(short)


def integer(low: int = 0, high: int = LARGEST) -> Kind:
    """A whole number; one like 1e3, which is read as 1000.0, is one too."""

    def take(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UnfitError(_quoted(value))
        if not low <= value <= high:
            raise UnfitError("That is too large." if value > high == LARGEST else "")
        return value

    return Kind(f"a whole number from {low}" + (f" to {high}" if high != LARGEST else ""), take)


def number(
    low: int | float = -math.inf, high: int | float = math.inf, *, above: bool = False, below: bool = False
) -> Kind:
    """A finite number from `low` to `high`: `above` the former, `below` the latter where these are no values of it."""

    def take(value: Any) -> int | float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise UnfitError(_quoted(value))
        try:
            inside = math.isfinite(value) and low <= value <= high
        except OverflowError:  # an int that no float holds
            inside = False
        if not inside or (above and value == low) or (below and value == high):
            raise UnfitError
        return value

    parts = [f"above {low:g}" if above else f"from {low:g}"] if low > -math.inf else []
    parts += [f"below {high:g}" if below else f"up to {high:g}"] if high < math.inf else []
    return Kind(" ".join(["a number", ", ".join(parts)]).strip(), take)


def choice(*names: str) -> Kind:
    """One of these texts."""

    def take(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise UnfitError
        return value

    return Kind(either(names), take)


def constant(value: Any, why: str) -> Kind:
    """Nothing but this value."""

    def take(given: Any) -> Any:
        if given != value or isinstance(given, bool) != isinstance(value, bool):
            raise UnfitError
        return value

    return Kind(f"{shown(value)}, {why}", take)


def pattern(expression: str, possible: str) -> Kind:
    """A text of that form."""

    def take(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(expression, value, re.ASCII):
            raise UnfitError
        return value

    return Kind(possible, take)


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
    return either_of(kind, _NULL)


def mapping_of(kinds: Mapping[str, Kind], possible: str) -> Kind:
    """These keys, all of them, with a value of its kind each."""

    def take(value: Any) -> dict:
        if not isinstance(value, Mapping) or value.keys() != kinds.keys():
            raise UnfitError
        return {name: kind.take(value[name]) for name, kind in kinds.items()}

    return Kind(possible, take)


def mapping(possible: str) -> Kind:
    """A group of keys, which are checked one by one."""

    def take(value: Any) -> Mapping:
        if not isinstance(value, Mapping):
            raise UnfitError
        return value

    return Kind(possible, take)


def either(names: Any) -> str:
    """`a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else str(last)


def _null(value: Any) -> None:
    if value is not None:
        raise UnfitError


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UnfitError
    return value


def _text(value: Any) -> str:
    text = _readable(value)
    if not text.strip() or not text.isprintable():
        raise UnfitError
    return text


def _readable(value: Any) -> str:
    if isinstance(value, bool | float):
        raise UnfitError("Write it in quotes.")
    if not isinstance(value, int | str):
        raise UnfitError
    return str(value)


def _path(value: Any) -> str:
    text = _readable(value)
    if not text or "\0" in text:
        raise UnfitError
    if any(name in os.environ for name in re.findall(r"\$\{?(\w+)", text)):
        raise UnfitError("Its $ has come to us as it is: leave out single quotes, or write the path out.")
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise UnfitError("There is no such home folder.") from None


def _quoted(value: Any) -> str:
    return "It is a text: leave out the quotes." if isinstance(value, str) and _is_number(value) else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reads_otherwise(text: str) -> bool:
    return _is_number(text) or text.lower() in ("null", "true", "false")


_NULL = Kind("null", _null)
BOOLEAN = Kind("true or false", _boolean)
TEXT = Kind("a text", _text)
PATH = Kind("a path", _path)
SEED = integer(0, LARGEST_SEED)
COUNT = integer(1)
POSITIVE = number(0, above=True)
WEIGHT = number(0)
FRACTION = number(0, 1)
MAYBE_TEXT = optional(TEXT)
MAYBE_PATH = optional(PATH)
