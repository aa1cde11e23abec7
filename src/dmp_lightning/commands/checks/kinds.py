"""A kind of values: what a key of the config takes, in words and as a check; and the kinds of a single value."""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmp_lightning.user_error import UserError

LARGEST = 2**31 - 1
"""Of whole numbers that count something."""
LONGEST_NAME = 255
"""Bytes of a part of a path, on usual file systems."""
LARGEST_SEED = 2**32 - 1
"""NumPy's generators take no larger one."""


class UnfitError(UserError):
    """A value is not of a kind; the text adds to what is possible, or is empty."""


@dataclass(frozen=True)
class Kind:
    """Values that are `possible`, as a sentence says it after "choose", and how one is taken.

    `take` returns the value as the product uses it: `[3]` for `3` where a list is wanted.

    Raises:
        UnfitError: `take` does, of what is not of this kind.
    """

    possible: str
    take: Callable[[Any], Any]


def check(key: str, value: Any, kind: Kind) -> Any:
    """The value as the product uses it.

    Raises:
        UserError: it is not of that kind; says the key, what was given and what is possible.
    """
    try:
        return kind.take(value)
    except UnfitError as error:
        more = f" {error}" if str(error) else ""
        raise UserError(f"{key}={shown(value)}: choose {kind.possible}.{more}") from None


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


def either(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else str(last)


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reads_otherwise(text: str) -> bool:
    return is_number(text) or text.lower() in ("null", "true", "false")


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


def where(possible: str, holds: Callable[[Any], bool]) -> Kind:
    """Any value for which `holds` is true, as it is."""

    def take(value: Any) -> Any:
        if not holds(value):
            raise UnfitError
        return value

    return Kind(possible, take)


def choice(*names: str) -> Kind:
    """One of these texts."""
    return where(either(names), lambda value: isinstance(value, str) and value in names)


def constant(*values: Any, why: str) -> Kind:
    """Nothing but one of these values, of that very type: 1 is not 1.0."""
    names = either(map(shown, values)) if values else "none"
    return where(f"{names}, {why}", lambda given: any(type(given) is type(each) and given == each for each in values))


def pattern(expression: str, possible: str) -> Kind:
    """A text of that form."""
    form = re.compile(expression, re.ASCII)
    return where(possible, lambda value: isinstance(value, str) and form.fullmatch(value) is not None)


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
    if any(len(part.encode(errors="replace")) > LONGEST_NAME for part in Path(text).parts):
        raise UnfitError(f"No file's name is longer than {LONGEST_NAME} bytes.")
    if any(name in os.environ for name in re.findall(r"\$\{?(\w+)", text)):
        raise UnfitError("The shell did not expand $: remove the single quotes, or write the whole path.")
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise UnfitError("There is no such home folder.") from None


def _quoted(value: Any) -> str:
    return "It is a text: leave out the quotes." if isinstance(value, str) and is_number(value) else ""


NULL = where("null", lambda value: value is None)
BOOLEAN = where("true or false", lambda value: isinstance(value, bool))
TEXT = Kind("a text", _text)
PATH = Kind("a path", _path)
SEED = integer(0, LARGEST_SEED)
COUNT = integer(1)
POSITIVE = number(0, above=True)
WEIGHT = number(0)
FRACTION = number(0, 1)
