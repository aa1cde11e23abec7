"""Settings that lines say of themselves: in what they differ, and how one calls them."""

import math
from collections.abc import Iterable

from dmp_lightning.runs.said import Flat

ABSENT = "–"


def differing(configs: Iterable[Flat]) -> list[str]:
    """The keys at which not all of these settings have the same value, sorted."""
    configs = list(configs)
    keys = sorted({key for config in configs for key in config})
    return [key for key in keys if len({config.get(key, ABSENT) for config in configs}) > 1]


def short(key: str) -> str:
    """A key as one says it: `method.gate.top_k` is the gate's."""
    return key.removeprefix("method.").removeprefix("recipe.").replace("learning_rates.", "rate of ")


def by_value(text: str) -> tuple[int, float, str]:
    """Sorts numbers by size, and then texts."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    return (1, 0.0, text) if math.isnan(number) else (0, number, text)  # what is no number has no place among them
