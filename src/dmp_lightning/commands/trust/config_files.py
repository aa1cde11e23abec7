"""Checks of config files that are not of this package: they may not set Hydra's own part, nor where files are written.

Such files come from `--config-dir`, `--config-path`, a package on Hydra's search path, or the folder of a run.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.trust.trusted import LOGGERS
from dmp_lightning.runs.identity import within
from dmp_lightning.user_error import UserError

NEVER_TURNED = r"hydra|logger|resume|run_dir|base_results|out|output|sweep|data\.train\.folder"
NUMBER = (int, float, type(None))
HYDRA = (
    (r"hydra\.mode", (str,)),
    (r"hydra\.sweeper\.max_batch_size", NUMBER),
    (rf"hydra\.sweeper\.params\.\+{{0,2}}(?!(?:{NEVER_TURNED})\b)[A-Za-z_][\w./]*", (*NUMBER, str)),
    (r"hydra\.launcher\.[\w.]+", NUMBER),
    (r"hydra\.launcher\.(partition|account|qos|constraint)", (str,)),
)
"""Keys of Hydra that such a file may set, and their types: what a sweep turns, and how large its jobs are."""

PLACES = {"run_dir", "run", "base_results", "out", "output"}
"""Keys that say where files are written."""

RESOLVERS = {"asset", "hydra", "now", "oc.select", "prompts", "share"}
"""Of interpolations: those that only look at the config, and the time. `oc.env` would read keys and passwords."""

PARTS = ("name", "version", "sub_dir")  # of the path of Lightning's loggers


def check_settings(
    content: Any, file: str, typed: Collection[str] = (), group: str | None = None, command: str | None = None
) -> None:
    """Make sure that the content of a file, laid out as the whole config is, says nothing that is not for it to say.

    Args:
        typed: keys that the command line sets, so that it does not matter what the file says.
        group: of Hydra's part, as `hydra.job_logging`, if the command line chooses this very file for it.
        command: the name of the command's own config, where the content is for it.

    Raises:
        UserError: it does; the sentence names the file and the key.
    """
    places = PLACES | ({"data.train.folder"} if command == "encode" and "out" not in typed else set())
    for path, value in _leaves(content, ""):
        if path in typed:
            continue
        if path.partition(".")[0] == "hydra":
            if not (group and path.startswith(f"{group}.")) and not _harmless(path, value):
                raise UserError(
                    f"{file} sets {path}, which is Hydra's own and can run code: type it on the command line."
                )
        elif any(within(path, place) or (within(place, path) and "${" in str(value)) for place in places):
            raise UserError(f"{file} sets {path}, which says where files are written: type it on the command line.")
        elif within(path, "resume") and value not in (None, "auto", "latest"):
            raise UserError(f"{file} sets {path}={value}: type it on the command line.")
        if isinstance(value, str):
            _check_interpolations(path, value, file)


def check_written(config: DictConfig, typed: Collection[str]) -> None:
    """Make sure that the loggers of a config write into the folder of the run, or where the command line says.

    Raises:
        UserError: one would write elsewhere.
    """
    if "logger" not in config:
        return
    root = Path(str(config.run_dir)).resolve()
    for where, node in _built(OmegaConf.to_container(config.logger, resolve=True), "logger"):
        argument = LOGGERS.get(str(node["_target_"]))
        if argument is None:
            continue
        place = node.get(argument)
        inside = place is None or (isinstance(place, str) and Path(place).resolve().is_relative_to(root))
        if f"{where}.{argument}" not in typed and (not inside or node.get("_args_")):
            raise UserError(f"{where}.{argument}={place} is not in run_dir: type it on the command line.")
        for part in PARTS if node["_target_"].startswith("lightning.") else ():
            if f"{where}.{part}" not in typed and re.search(r"[/\\]|^\.\.$", str(node.get(part))):
                raise UserError(f"{where}.{part}={node[part]} is more than a name: type it on the command line.")


def typed_keys(overrides: Iterable[str]) -> frozenset[str]:
    """The keys that `overrides` set, also those within a mapping; a group is one too, `hydra.launcher` say."""
    keys = set()
    for text in overrides:
        key, _, value = text.lstrip("+~").partition("=")
        key = key.partition("@")[0].replace("/", ".")
        given = OverridesParser.create().parse_override(text).value() if value.startswith("{") else None
        keys |= {key} if given is None else {path for path, _ in _leaves(given, key)}
    return frozenset(keys)


def _harmless(path: str, value: Any) -> bool:
    """Whether such a file may say this of Hydra."""
    if isinstance(value, str) and ("${" in value or not re.fullmatch(r"[^\n]*", value)):
        return False
    if path.startswith("hydra.launcher.") and isinstance(value, str) and not re.fullmatch(r"[\w.&|-]+", value):
        return False
    return any(re.fullmatch(pattern, path) and isinstance(value, kinds) for pattern, kinds in HYDRA)


def _check_interpolations(path: str, value: str, file: str) -> None:
    for found in re.finditer(r"\$\{\s*([^}:$]*)(.?)", value, re.DOTALL):
        name, end = found[1].strip(), found[2]
        if end == "$" or (end == ":" and name not in RESOLVERS):
            what = "reads the environment" if name == "oc.env" else "only our own configs may use"
            raise UserError(f"{file} sets {path}={value}, which {what}: type the value on the command line.")


def _leaves(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Each path in nested containers at which there is a value, and the value."""
    if not isinstance(node, dict | list):
        yield where, node
        return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield from _leaves(value, f"{where}.{key}".lstrip("."))


def _built(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each mapping with a `_target_` in nested containers, and its path."""
    if isinstance(node, dict) and "_target_" in node:
        yield where, node
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _built(value, f"{where}.{key}".lstrip("."))
