"""A kind of values: what a key of the config takes, in words and as a check; and values as sentences write them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dmp_lightning.user_error import UserError


class UnfitError(UserError):
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
