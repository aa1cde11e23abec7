"""A strict reader of JSON from anybody: it refuses ambiguous content, and content that would break its users."""

import json
from collections import Counter
from typing import Any

from dmp_lightning.user_error import UserError

DEEPEST = 50  # containers within containers; a record of ours has about 8


def parse(text: str) -> Any:
    """The content of a JSON text.

    Raises:
        UserError: it is no JSON, gives a key twice, holds NaN or infinity, is nested deeply, or holds half a character
            (a lone surrogate), which no file can take.
    """
    try:
        content = json.loads(text, object_pairs_hook=_each_once, parse_constant=_refuse)
    except RecursionError:
        raise UserError(f"containers are nested more than {DEEPEST} deep") from None
    _check(content)
    return content


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise UserError(f"the key {twice[:40]!r} appears twice")
    return found


def _refuse(name: str) -> None:
    raise UserError(f"{name} is not allowed")


def _check(content: Any) -> None:
    """Walk through all that is held, without recursion."""
    level, depth = [content], 0
    while level:
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                value.encode()  # a UnicodeEncodeError is a ValueError
            elif isinstance(value, dict):
                "".join(value).encode()
                below += value.values()
            elif isinstance(value, list):
                below += value
        level, depth = below, depth + 1
        if depth > DEEPEST and level:
            raise UserError(f"containers are nested more than {DEEPEST} deep")
