"""What a report calls measures, bases, methods and lines: as short as they can be told apart."""

import re
from typing import Any

from dmp_lightning.reports.configs import ABSENT, Flat, by_value, differing, part, short
from dmp_lightning.reports.lines import Base, Line, grouped


def named(configs: dict[Any, Flat], prefixes: tuple[str, ...]) -> dict[Any, str]:
    """In what each of these configs differs from the others there, to be put behind a name."""
    chosen = {key: dict(part(config, prefixes)) for key, config in configs.items()}
    keys = [key for key in differing(chosen.values()) if not key.startswith("features")]
    if any(key.startswith("data.train") for key in keys):  # then all other keys of the data follow
        keys = ["data.train", *[key for key in keys if not key.startswith("data")]]
    words = {"data.train": "{}", "evaluation.samples": "{} samples", "evaluation.strata": "{} strata"}
    return {
        key: "".join(
            f", {words.get(name, name.split('.')[-1] + ' {}').format(config[name])}" for name in keys if name in config
        )
        for key, config in chosen.items()
    }


def name_bases(bases: list[Base], flat: dict[int, Flat]) -> None:
    for same in grouped(bases, lambda base: (base.measure, base.name)).values():
        keys = differing(flat[id(base.runs[0])] for base in same)
        keys = [key for key in keys if key.startswith(("backbone", "diffusion"))]
        for base in same if len(same) > 1 else []:
            config = flat[id(base.runs[0])]
            base.name += ", " + ", ".join(f"{key.split('.')[-1]} {config.get(key, ABSENT)}" for key in keys)


def name_methods(lines: list[Line]) -> None:
    """Each method by what its runs call it by default, else by its class."""
    for kind, same in grouped(lines, lambda line: line.config.get("method", ABSENT)).items():
        plain = [line.runs[0].record for line in same if not line.runs[0].record.config.get("label")]
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(kind)).lower() if str(kind) != str(kind).upper() else str(kind)
        name = plain[0].method.removesuffix(", EMA") if plain else words
        for line in same:
            line.method = name


def name_lines(lines: list[Line]) -> None:
    """Say in what lines of one label on one base differ: on the axes of their sweep, else in their configs."""
    for same in grouped(lines, lambda line: (id(line.base), line.name)).values():
        keys = differing(line.axes for line in same)
        tails = [", ".join(f"{key} {line.axes[key]}" for key in keys if key in line.axes) for line in same]
        if len(set(tails)) < len(same):
            keys = differing(line.config for line in same)
            tails = [", ".join(f"{short(key)} {line.config.get(key, ABSENT)}" for key in keys) for line in same]
        for line, tail in zip(same, tails, strict=True):
            line.name += f" · {tail}" if tail else ""
    lines.sort(key=lambda line: [by_value(line.axes[key]) for key in sorted(line.axes)])
