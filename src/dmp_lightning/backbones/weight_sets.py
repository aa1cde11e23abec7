"""The sets of weights that a file holds (raw, averaged, under prefixes), and which of them is taken."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from dmp_lightning.backbones import diffusers_format
from dmp_lightning.backbones.weights_file import read_content
from dmp_lightning.user_error import UserError

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
    """A file, all that it holds, the set that is taken and its name there (bare: empty), and the others' names."""

    file: Path
    content: dict[str, Any]
    weights: WeightSet
    name: str
    others: list[str]


def read_weights(path: str | Path, names: Collection[str], part: str | None = None) -> Found:
    """The set of weights that `part` names, or else the averaged ones, or else the only ones.

    Args:
        path: of a file, an index of shards, or a folder. names: those of the model's weights.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no file of weights, is damaged, or holds more than tensors and plain values; there is no such
            set, or there are several and none is known to be the one to take.
    """
    file = diffusers_format.find_weights(Path(path))
    content = read_content(file)
    try:
        sets = _sets(content, {*names, *diffusers_format.OUTERMOST})
        chosen = _choose(sets, part)
    except ValueError as error:
        raise UserError(f"{path} {error}") from error
    others = [name or "bare weights" for name in sets if name != chosen]
    return Found(file, content, sets[chosen], chosen, others)


def _sets(content: Mapping[str, Any], names: Collection[str]) -> dict[str, WeightSet]:
    """The sets of weights in a file, by name."""
    places = [(place, tensors) for place, tensors in _places(content, ()) if not OPTIMISER.match(place)]
    if not places:
        raise UserError("holds no weights: it must map names to tensors.")
    sets = {name: found for place, tensors in places for name, found in _prefixed(place, tensors, names)}
    if sets:
        return sets
    place, tensors = max(places, key=lambda pair: len(pair[1]))  # of another model: the names will say so
    return {place: WeightSet(tensors, "", 0)}


def _choose(sets: Collection[str], part: str | None) -> str:
    if part is not None and part not in sets:
        known = " and ".join(name or "bare weights" for name in sets)
        raise UserError(f"has no part named {part!r}; it holds {known}.")
    if part is not None:
        return part
    chosen, *others = sorted(sets, key=_rank)
    if others and _rank(others[0]) == _rank(chosen):
        raise UserError(f"holds several sets of weights ({', '.join(sets)}): choose one with backbone.part.")
    return chosen


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
            twice = Counter(kept.values()).most_common(1)[0][0]
            keys = " and ".join(key for key, name in kept.items() if name == twice)
            raise UserError(f"holds {twice} twice, as {keys}: save it under one name.")
        words = dict.fromkeys(word for key in kept for word in key.split(".") if word in WRAPPERS)
        off = [*(f"{word}." for word in words), *([prefix] if prefix else [])]
        inner = prefix.rstrip(".") if len(prefixes) > 1 or not place else ""
        unused = len(tensors) - len(found) if prefix else 0
        yield ".".join(filter(None, (place, inner))), WeightSet(found, " and ".join(off), unused)


def _before(key: str, names: Collection[str]) -> str | None:
    """The prefix of a model's name in `key`, with its dot; None where there is no such name in it."""
    words = key.split(".")
    for start in range(len(words)):
        if ".".join(words[start:]) in names:
            return "".join(f"{word}." for word in words[:start])
    return None
