"""The configuration reference: every command, group, option and key of conf/, with their comments."""

import json
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

CONF = Path(__file__).parents[2] / "conf"
ADDED = ("experiment", "mode", "sweep")  # groups that no default chooses
INTRODUCTION = """# Configuration { .keys }

All keys of the commands, with their defaults and comments, from the files in `conf/`. `GROUP=OPTION` chooses an option
of a group, and `KEY=VALUE` sets a key by its whole dotted name: `method=dmp method.injection=first:2`. Keys that a file
does not set come from the files that it starts from. `python -m dmp_lightning.train --cfg job --resolve` prints all
values.
"""


class Entry(NamedTuple):
    """A dotted key, its default as written, and its comment.

    Or a choice: a group (empty for the file's own group), its option, and the comment.
    """

    key: str
    default: str
    comment: str


class Option(NamedTuple):
    """A file: its head comment, the examples in it, the files and groups that it chooses, and its keys."""

    name: str
    about: str
    examples: list[str]
    defaults: list[Entry]
    entries: list[Entry]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, "configuration.md", content=reference(CONF)))
    return files


def reference(conf: Path) -> str:
    """The page on the files in `conf`."""
    commands = sorted(map(read, conf.glob("*.yaml")), key=lambda option: (option.name != "train", option.name))
    chosen = {choice.key: choice.default for choice in commands[0].defaults}
    order = list(chosen)
    groups = [path for path in sorted(conf.iterdir()) if any(path.glob("*.yaml"))]
    groups.sort(key=lambda path: order.index(path.name) if path.name in chosen else len(order))
    return "\n\n".join([INTRODUCTION, *map(_command, commands), *(_group(group, chosen) for group in groups)])


def read(path: Path) -> Option:
    """Read a file of the configuration."""
    text = path.read_text(encoding="utf-8")
    head = [line.removeprefix("# ") for line in takewhile(lambda line: line.startswith("#"), text.splitlines())]
    about = [line for line in head if not line.startswith((" ", "@package"))]
    examples = [line.strip() for line in head if line.startswith(" ")]
    root = yaml.compose(text, yaml.SafeLoader)
    nodes = root.value if isinstance(root, yaml.MappingNode) else []
    defaults = [item for key, value in nodes if key.value == "defaults" for item in _defaults(value, text)]
    entries = [entry for pair in nodes if pair[0].value != "defaults" for entry in _entries(*pair, "", text)]
    return Option(path.stem, " ".join(about), examples, defaults, entries)


def _entries(key: yaml.Node, value: yaml.Node, prefix: str, text: str) -> Iterator[Entry]:
    name = f"{prefix}{key.value}"
    if not isinstance(value, yaml.MappingNode) or value.flow_style:
        default = text[value.start_mark.index : value.end_mark.index].rstrip()
        if "\n" in default:  # a table has no room for lines
            default = json.dumps(yaml.safe_load(" " * value.start_mark.column + default))
        yield Entry(name, default, _comment(text, value.end_mark.index))
        return
    comment = _comment(text, key.end_mark.index + 1)
    if comment:
        yield Entry(name, "", comment)
    for pair in value.value:
        yield from _entries(*pair, f"{name}.", text)


def _comment(text: str, index: int) -> str:
    """The comment on the rest of that line."""
    found = re.match(r"[ \t]*#[ \t]*(.*)", text[index:])
    return found[1] if found else ""


def _defaults(node: yaml.Node, text: str) -> Iterator[Entry]:
    for item in node.value:
        if isinstance(item, yaml.MappingNode):
            for key, value in item.value:
                group = key.value.removeprefix("override ").lstrip("/")
                yield Entry(group, value.value, _comment(text, value.end_mark.index))
        elif item.value != "_self_":
            yield Entry("", item.value, _comment(text, item.end_mark.index))


def _command(command: Option) -> str:
    starts = [f"All keys of `{choice.default}`, and these." for choice in command.defaults if not choice.key]
    choices = [choice for choice in command.defaults if choice.key and not choice.key.startswith("hydra")]
    groups = [
        [f"[`{group}`](#{group})", f"`{name}`", comment or "a group, see there"] for group, name, comment in choices
    ]
    title = f"## {command.name} {{ #command-{command.name} }}"
    about = re.sub(r"^(python -m \S+):", r"`\1`:", command.about)
    examples = "\n".join(["```bash", *command.examples, "```"])
    return "\n\n".join([title, about, examples, *starts, _table(groups + _rows(command))])


def _group(folder: Path, chosen: dict[str, str]) -> str:
    sections = [f"## {folder.name}"]
    if folder.name in chosen:
        sections.append(f"By default `{chosen[folder.name]}`.")
    plus = "+" if folder.name in ADDED else ""
    for option in map(read, sorted(folder.glob("*.yaml"))):
        shared = option.name.startswith("_")
        sections.append("Keys of all options:" if shared else f"### {plus}{folder.name}={option.name}")
        choices = [f"`{group}={name}` {comment}".strip() for group, name, comment in option.defaults if group]
        starts = [f"`{name}`" for group, name, _ in option.defaults if not group and not name.startswith("_")]
        sections += [
            option.about,
            f"Starts from {', '.join(starts)}." if starts else "",
            f"Chooses {', '.join(choices)}." if choices else "",
            _table(_rows(option)),
        ]
    return "\n\n".join(section for section in sections if section)


def _rows(option: Option) -> list[list[str]]:
    kept = [entry for entry in option.entries if not entry.key.endswith("_partial_")]
    return [[f"`{entry.key}`", f"`{entry.default}`" if entry.default else "", entry.comment] for entry in kept]


def _table(rows: list[list[str]]) -> str:
    if not rows:
        return ""
    escaped = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(["| key | default | comment |", "| --- | --- | --- |", *escaped])
