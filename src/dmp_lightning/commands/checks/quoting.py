"""Overrides as they are typed: paths and texts that Hydra's grammar would read otherwise, and what it cannot read."""

import os
import shlex
import sys
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from dmp_lightning.commands.checks.compound_kinds import MAYBE_PATH, MAYBE_TEXT
from dmp_lightning.commands.checks.keys import kind_of
from dmp_lightning.commands.checks.kinds import PATH, TEXT, Kind, UnfitError, check, shown
from dmp_lightning.user_error import UserError

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Hydra's own keys that are paths."""
MADE = ("hydra.run.dir", "hydra.sweep.dir", "run_dir")
"""Folders that Hydra makes, before it asks us for anything."""


def in_order(arguments: list[str]) -> list[str]:
    """The arguments of a command with its overrides first, as Hydra wants these to stand together.

    Raises:
        UserError: an option is unknown, or reads a pickle.
    """
    known, others = get_args_parser().parse_known_args(arguments)
    if known.experimental_rerun is not None:
        raise UserError("--experimental-rerun reads a pickle, which can run code: type the settings again.")
    unknown = [each for each in others if each.startswith("-")]
    if unknown:
        raise UserError(f"{unknown[0]} is not an option of this command: --hydra-help lists them.")
    overrides, options = [*known.overrides, *others], arguments[::-1]
    for each in overrides[::-1]:
        options.remove(each)  # the last of its name, as the value of an option may be the same
    return [*overrides, *options[::-1]]


def readable(arguments: list[str], command: str, conf: Path) -> list[str]:
    """The arguments of a command, with quotes around each path or text that would be taken for something else.

    `patch=epoch=1-step=8.safetensors` is a path whatever is in it, and so are `run (2)/patch`, `é` and `1e3`. What is
    quoted already stays as it is, and so do null and interpolations. What is quoted here is said in a line.

    Args:
        conf: the folder of the config's groups.

    Raises:
        UserError: an override of another key cannot be read, or a group is given what is no name.
    """
    found = [each if each.startswith("-") else _readable(each, command, conf) for each in arguments]
    for given, read in zip(arguments, found, strict=True):
        if read != given and not read.startswith("~"):
            print(f"Read as if it were quoted: {shlex.quote(read)}", file=sys.stderr)
    return found


def _readable(argument: str, command: str, conf: Path) -> str:
    key, found, text = argument.partition("=")
    if not found:
        return argument
    name, parsed = key.lstrip("+~"), _parsed(argument)
    literal = name in FOLDERS or kind_of(name, command) in (PATH, TEXT, MAYBE_PATH, MAYBE_TEXT)
    if literal and text.startswith("~"):
        text = os.path.expanduser(text)
    if name in MADE and "${" not in text:
        _check_folder(name, text.strip("'\""))
    elif parsed is not None and not (literal and _is_changed(parsed, text)):
        return _named(argument, name, parsed, command, conf)
    whole = f"{key}={QuotedString(text, Quote.single).with_quotes()}"
    kind = kind_of(name, command)
    if not literal and (kind is None or not _accepts(kind, text)):
        raise UserError(f"{argument} cannot be parsed: quote it, as in {shlex.quote(whole)}")
    return whole


def _check_folder(key: str, text: str) -> None:
    """Make sure that there can be such a folder."""
    folder = Path(str(check(key, text, PATH)))
    file = next((path for path in (folder, *folder.parents) if os.path.isfile(path)), None)
    if file is not None:
        raise UserError(f"{key}={text} cannot be a folder, as {file} is a file: choose another one.")


def _is_changed(parsed: Override, text: str) -> bool:
    """Whether Hydra reads the text as something else than it is."""
    if text in ("", "null") or text[0] in "'\"" or "${" in text:
        return False
    if parsed.is_sweep_override():  # several values of a sweep, or a name with a comma
        return Path(text).exists()
    return parsed.value() != text


def _named(argument: str, key: str, parsed: Override, command: str, conf: Path) -> str:
    """The argument, of which a group takes names alone; for null where it may have none, Hydra's word for that."""
    if parsed.is_sweep_override() or parsed.is_delete() or not (conf / key).is_dir():
        return argument
    value, kind = parsed.value(), kind_of(key, command)
    if isinstance(value, str | list):
        return argument
    if value is None and kind is not None and _accepts(kind, None):
        return f"~{key}"
    names = ", ".join(sorted(path.stem for path in (conf / key).glob("[!_]*.yaml")))
    raise UserError(f"{key}={shown(value)}: choose one of {names}.")


def _accepts(kind: Kind, value: object) -> bool:
    try:
        kind.take(value)
    except UnfitError:
        return False
    return True


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
