"""The sets of weights that a file holds (raw, averaged, under prefixes), and which of them is taken."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Names that DDP, torch.compile, FSDP and activation checkpointing put before, and between, a model's own."""
AVERAGED = re.compile(r"(^|[._])ema", re.IGNORECASE)
PREFERRED = ("", "model", "state_dict", "module")
OPTIMISER = re.compile(r"opt(im\w*)?(\.|$)")  # whose state may have the names of weights
DEEPEST = 3


class WeightSet(NamedTuple):
    """Tensors by their names in the model; what was taken off these, and how many of the others are not used."""

    tensors: dict[str, Tensor]
    prefix: str
    unused: int


class Found(NamedTuple):
    """The set that is taken, its name in the file (bare: empty), and those of the others."""

    weights: WeightSet
    name: str
    others: list[str]


def choose_set(content: Mapping[str, Any], names: Collection[str], part: str | None) -> Found:
    """The set of weights that `part` names, or else the averaged ones, or else the only ones.

    Args:
        content: of the file, as it was read. names: those of the model's weights.

    Raises:
        ValueError: there is no such set, or there are several and none is known to be the one to take.
    """
    places = [(place, tensors) for place, tensors in _places(content, ()) if not OPTIMISER.match(place)]
    if not places:
        raise ValueError("does not hold a backbone's weights: it must map names to tensors.")
    sets = {name: found for place, tensors in places for name, found in _prefixed(place, tensors, names)}
    if not sets:  # of another model: the names will say so
        place, tensors = max(places, key=lambda pair: len(pair[1]))
        sets = {place: WeightSet(tensors, "", 0)}
    if part is not None:
        if part not in sets:
            known = " and ".join(name or "bare weights" for name in sets)
            raise ValueError(f"has no part named {part!r}; it holds {known}.")
        chosen = part
    else:
        ranked = sorted(sets, key=_rank)
        chosen = ranked[0]
        if len(ranked) > 1 and _rank(ranked[1]) == _rank(chosen):
            raise ValueError(f"holds several sets of weights ({', '.join(sets)}): choose one with backbone.part.")
    return Found(sets[chosen], chosen, [name or "bare weights" for name in sets if name != chosen])


def _rank(name: str) -> int:
    if name == "ema":
        return 0
    if AVERAGED.search(name):
        return 1
    return 2 + (PREFERRED.index(name) if name in PREFERRED else len(PREFERRED))


def _places(content: Mapping[str, Any], place: tuple[str, ...]) -> Iterable[tuple[str, dict[str, Tensor]]]:
    """Each mapping of names to tensors within, and where it is."""
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    inner = []
    for key, value in content.items():
        parts = dict(enumerate(value)) if isinstance(value, list | tuple) else value
        if isinstance(parts, Mapping) and len(place) < DEEPEST:
            inner += list(_places({str(name): each for name, each in parts.items()}, (*place, str(key))))
    if tensors:
        yield ".".join(place), tensors
    yield from inner


def _prefixed(place: str, tensors: dict[str, Tensor], names: Collection[str]) -> Iterable[tuple[str, WeightSet]]:
    """The sets in one mapping, told apart by what stands before the model's own names."""
    clean = {key: ".".join(word for word in key.split(".") if word not in WRAPPERS) for key in tensors}
    counts = Counter(prefix for prefix in (_before(name, names) for name in clean.values()) if prefix is not None)
    prefixes = [prefix for prefix, count in counts.items() if count >= max(counts.values()) / 2]
    for prefix in prefixes:
        others = tuple(other for other in prefixes if other.startswith(prefix) and other != prefix)
        kept = {
            key: name
            for key, name in clean.items()
            if name.startswith(prefix) and not (others and name.startswith(others))
        }
        found = {name.removeprefix(prefix): tensors[key] for key, name in kept.items()}
        if len(found) < len(kept):
            twice = next(name for name, count in Counter(kept.values()).items() if count > 1)
            raise ValueError(f"holds {twice} twice, with and without {' or '.join(sorted(WRAPPERS))} in its name.")
        words = dict.fromkeys(word for key in kept for word in key.split(".") if word in WRAPPERS)
        off = [*(f"{word}." for word in words), *([prefix] if prefix else [])]
        inner = prefix.rstrip(".") if len(prefixes) > 1 or not place else ""
        unused = len(tensors) - len(found) if prefix else 0
        yield ".".join(filter(None, (place, inner))), WeightSet(found, " and ".join(off), unused)


def _before(key: str, names: Collection[str]) -> str | None:
    """What stands before a model's name in `key`, with its dot; None where there is no such name in it."""
    words = key.split(".")
    for start in range(len(words)):
        if ".".join(words[start:]) in names:
            return "".join(f"{word}." for word in words[:start])
    return None
