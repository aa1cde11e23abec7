"""`run=DIR`: the settings of a run for the commands that sample, measure and export what it trained."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.files import read_json
from dmp_lightning.folders import component
from dmp_lightning.runs.folder import BEGUN, RESULTS, checkpoint_to_resume, latest_run
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)

TAKEN = (
    "activation_checkpointing",
    "backbone",
    "budget",
    "data",
    "diffusion",
    "evaluation",
    "features",
    "gate",
    "loss_weight",
    "matmul_precision",
    "method",
    "name",
    "recipe",
    "sampler",
    "seed",
)
"""Groups that are taken from a run's settings: they decide its numbers, and none says where files are written."""

COMPOSED = ("experiment", "mode", "sweep")


def arguments_of_run(arguments: list[str]) -> list[str]:
    """The arguments of a command, made to go with the settings of the run that `run=` names, if it is among them.

    What is typed of the groups that are taken from the run may be keys that the default config lacks.

    Raises:
        MissingFileError: there is no such run.
        UserError: its settings are unreadable, or an experiment is named as well.
    """
    given = {key.lstrip("+"): value for key, _, value in (each.partition("=") for each in arguments)}
    if given.get("run", "null") == "null":
        return arguments
    composed = next((key for key in COMPOSED if key in given), None)
    if composed:
        raise UserError(f"run={given['run']} brings its own settings: leave out +{composed}={given[composed]}.")
    runs = Path("runs", given.get("name", ""))
    folder = latest_run(runs) if given["run"] == "latest" else Path(given["run"].strip("'\""))
    named = [] if "name" in given else [f"name={component(read_settings(folder).get('name'), 'name')}"]
    return [*named, *(_forced(each) for each in arguments if not each.startswith("run=")), f"run={folder}"]


def _forced(argument: str) -> str:
    key = argument.lstrip("+").partition("=")[0]
    return f"++{argument.lstrip('+')}" if "." in key and key.partition(".")[0] in TAKEN else argument


def with_run(config: DictConfig, typed: Iterable[str]) -> DictConfig:
    """The config with the settings, and the patch or checkpoint, of the run that `config.run` names.

    Keys that are `typed` beat the run's. The settings are taken as plain values: nothing in them is looked up.

    Raises:
        MissingFileError: there is no such run, or no checkpoint to export.
        UserError: its settings are unreadable, hold references, or lack a typed key.
    """
    if config.get("run") is None:
        return config
    folder, keys = Path(config.run), set(typed)
    settings = read_settings(folder)
    found = config.copy()
    for key in TAKEN:
        if key in settings and key not in keys:
            found[key] = settings[key]
    if isinstance(settings.get("trainer"), dict) and "trainer.precision" not in keys:
        found.trainer.precision = settings["trainer"].get("precision")
    for key in keys:
        if "." in key and key.partition(".")[0] in TAKEN:
            OmegaConf.update(found, key, OmegaConf.select(config, key))
    if "checkpoint" in found:
        if "checkpoint" not in keys:
            found.checkpoint = str(_checkpoint(folder))
    elif found.patch is None and (folder / "patch.safetensors").is_file():
        found.patch = str(folder / "patch.safetensors")
    log.info("Settings of the run %s", folder)
    return found


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of the run in `folder`, plain values without references.

    Raises:
        MissingFileError: there is no run.
        UserError: its record is damaged, or holds references.
    """
    path = next((folder / name for name in (BEGUN, RESULTS) if (folder / name).is_file()), None)
    if path is None:
        raise MissingFileError(f"There is no run at {folder}: name the folder of one, runs/NAME/TIME, or run=latest.")
    content = read_json(path)
    settings = content.get("config") if isinstance(content, dict) else None
    if not isinstance(settings, dict):
        raise UserError(f"{path} holds no settings of a run: name another folder.")
    if any("${" in text for text in _texts(settings)):
        raise UserError(f"{path} holds references (${{...}}), which a run does not write: name another folder.")
    return settings


def _texts(node: Any) -> Iterable[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def _checkpoint(folder: Path) -> Path:
    found = checkpoint_to_resume(folder, "latest")
    if found is None:
        raise MissingFileError(f"{folder} has no checkpoint to export: name another run.")
    return found
