"""`--help` of a command, put together from the texts in `conf/`, so that it is there before Hydra could be imported."""

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import yaml

from dmp_lightning.commands.checks.unread import UNREAD
from dmp_lightning.runs.identity import within

CONF = Path(__file__).parents[1] / "conf"
OF_SAMPLING = ("backbone.weights", "evaluation.batch_size", "evaluation.guidance.guidance_scale", "trainer.precision")
OF_GROUPS = {
    "train": (
        *("backbone.weights", "method.injection", "method.prompt_count", "method.condition", "gate.top_k"),
        *("recipe.batch_size", "recipe.max_steps", "recipe.learning_rates", "recipe.ema_decay"),
        *("recipe.validate_every", "evaluation.samples", "trainer.precision"),
    ),
    "sample": OF_SAMPLING,
    "evaluate": ("evaluation.samples", *OF_SAMPLING),
    "export": ("backbone.weights",),
}
"""Keys in groups that matter most to a command. Those in its own file are shown before them, if they have comments."""
LEFT_OUT = ("activation_checkpointing", "base_results", "controls", "matmul_precision", "sweep")

OPTIONS = {
    "-m, --multirun": "run all combinations of values that commas separate",
    "--cfg job": "print the config and run nothing; with --resolve, references are followed",
    "--config-dir DIR": "add a folder of config files of your own",
    "--hydra-help": "list Hydra's other options",
}
ENTRY = re.compile(r"( *)(\w+):(?: (?!#)(.*?))?(?:\s+# (.*))?")  # indent, name, value, comment
WIDEST = 24  # name that has its own column


def print_help(command: str) -> None:
    """Print the help of a command, as wide as the terminal; options that `--config-dir` adds to groups are in it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    own = parser.parse_known_args(sys.argv[1:])[0].config_dir
    print(help_text(command, [CONF] if own is None else [CONF, own], shutil.get_terminal_size().columns))


def help_text(command: str, folders: Sequence[Path], width: int) -> str:
    """The help of a command in lines of at most `width` characters. `folders` hold the options of groups."""
    sentence, examples = head(command)
    chosen = defaults(command)
    own = entries(CONF / f"{command}.yaml")
    keys = {name: found for name, found in own.items() if "." not in name and found[1] and name not in LEFT_OUT}
    keys |= {key: key_of_group(key, chosen) for key in OF_GROUPS.get(command, ())}
    parts = {
        "Keys, KEY=VALUE": {f"{key}={value}" if _short(value) else key: text for key, (value, text) in keys.items()},
        "Groups, GROUP=NAME (* by default)": groups(command, folders, chosen),
        "Options": OPTIONS,
    }
    lines = [*textwrap.wrap(sentence, width), "", "Examples", *(f"  {example}" for example in examples)]
    for title, rows in parts.items():
        if rows:
            lines += ["", title, *_table(rows, width)]
    return "\n".join(lines)


def _table(rows: Mapping[str, str], width: int) -> Iterator[str]:
    """Names with their texts beside them, wrapped to `width` characters."""
    column = min(WIDEST, max(map(len, rows))) + 2
    wrapper = textwrap.TextWrapper(width, "  ", " " * (column + 2), break_on_hyphens=False, break_long_words=False)
    for name, text in rows.items():
        yield from wrapper.wrap(f"{name}  ".ljust(column) + text)


def head(command: str) -> tuple[str, list[str]]:
    """The sentence that says what a command does, and its examples, from the comment at the top of its config file."""
    lines = (CONF / f"{command}.yaml").read_text(encoding="utf-8").splitlines()
    comment = [line[2:] for line in takewhile(lambda line: line.startswith("#"), lines)]
    told = " ".join(line for line in comment if not line.startswith(" ")).partition(": ")[2]
    module, typed = f"python -m dmp_lightning.{command}", Path(sys.argv[0]).name
    name = typed if typed.startswith("dmp-") else module
    examples = [line.strip().replace(module, name) for line in comment if line.startswith(" ")]
    return f"{name}: {told}", examples


def defaults(command: str) -> dict[str, str]:
    """The option that each group of a command has by default; an empty name is none."""
    found: dict[str, str] = {}
    for each in _read(CONF / f"{command}.yaml")["defaults"]:
        if isinstance(each, dict):
            found |= {group: name or "" for group, name in each.items() if "/" not in group}
        elif each != "_self_":
            found |= defaults(each)
    return found


def groups(command: str, folders: Sequence[Path], chosen: dict[str, str]) -> dict[str, str]:
    """The options of each group that a command reads; groups that have none by default are added with a plus."""
    found = {}
    added = {path.name: "" for path in sorted(CONF.iterdir()) if path.is_dir() and path.name not in chosen}
    for group, default in (chosen | (added if "backbone" in chosen else {})).items():
        names = sorted({path.stem for folder in folders for path in (folder / group).glob("[!_]*.yaml")})
        shown = ", ".join(f"{name}*" if name == default else name for name in names)
        if not any(within(group, unread) for unread in UNREAD.get(command, ())):
            found[group if group in chosen else f"+{group}"] = shown
    return found


def key_of_group(key: str, chosen: dict[str, str]) -> tuple[str, str]:
    """The value and the comment of a key in the default option of its group, or in the options that this builds on."""
    group, _, name = key.partition(".")
    option, value, comment = chosen[group], "", ""
    while option and not comment:
        path = CONF / group / f"{option}.yaml"
        found, option = entries(path).get(name, ("", "")), next(iter(_read(path).get("defaults", [])), "")
        value, comment = value or found[0], found[1]
    return value, comment


def entries(path: Path) -> dict[str, tuple[str, str]]:
    """The value and the comment of each key of a config file, as they are written there."""
    found, parents = {}, list[str]()
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := ENTRY.fullmatch(line):
            del parents[len(match[1]) // 2 :]
            parents.append(match[2])
            found[".".join(parents)] = (match[3] or "", match[4] or "")
    return found


def _read(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _short(value: str) -> bool:
    return 0 < len(value) < 20 and "${" not in value
