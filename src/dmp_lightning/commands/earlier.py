"""Each job stores its config in its folder, so that a restarted sweep recognises finished jobs."""

import json
import shlex
import sys
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.files import read_json, write_json
from dmp_lightning.runs.folder import BEGUN, RESULTS, RUN, TOLD_SCHEMA, latest_in, started
from dmp_lightning.runs.identity import Role, role_of
from dmp_lightning.runs.record import read_results
from dmp_lightning.user_error import UserError


def earlier_metrics(config: DictConfig, folder: Path) -> dict[str, float] | None:
    """The final metrics that are in `folder` already, or None for a job that is to run, from its checkpoint if any.

    Raises:
        UserError: what is there was made with other settings, or another job of the sweep has these.
    """
    settings, begun = settings_of(config), folder / BEGUN
    given = _begun_with(begun) if begun.exists() else None
    if (folder / RESULTS).exists():
        record = read_results(folder / RESULTS)
        _check_same(given or record.config, settings, folder)  # a budget turns keys of the record
        if "final" not in record.metrics:
            raise UserError(f"{folder / RESULTS} is not the record of a training: delete it.")
        final = record.metrics["final"]
        numbers = {name: value for name, value in final.items() if isinstance(value, float)}
        paired = final.get("loss_difference")
        return numbers | ({"loss_difference": paired["mean"]} if paired else {})
    if given and latest_in(folder) is not None:
        _check_same(given, settings, folder)
    _check_new(settings, folder)
    begin(folder, config, resuming=latest_in(folder) is not None)
    return None


def differences(
    there: Any, here: Any, but: Collection[Role] = (Role.PLACE,), where: str = ""
) -> Iterator[tuple[str, str]]:
    """Each key of two nested containers with different values, and a sentence with both; a missing key is null.

    Keys of the roles `but` are passed over, and so are interpolations that Hydra has written down as they were typed:
    what they follow is compared.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from differences(there.get(key), here.get(key), but, f"{where}.{key}".lstrip("."))
    elif there != here and role_of(where) not in but and not (isinstance(there, str) and "${" in there):
        yield where, f"{where} was {there}, now {here}"


def elsewhere(override: str) -> bool:
    """Whether an override changes nothing of what a job of a sweep finds, or the folder of the sweep stands for it."""
    return role_of(override.lstrip("+").partition("=")[0]) is Role.PLACE


def _check_same(there: Any, here: Any, folder: Path) -> None:
    found = [sentence for _, sentence in differences(there, here)]
    if found:
        more = f"; and {len(found) - 2} more" if len(found) > 2 else ""
        raise UserError(
            f"{folder} was made with other settings ({'; '.join(found[:2])}{more}): delete it, or start another sweep "
            "with sweep.name=NAME."
        )


def _check_new(settings: Any, folder: Path) -> None:
    for begun in sorted(folder.parent.glob(f"*/{BEGUN}")):
        found = [] if begun.parent == folder else [key for key, _ in differences(_begun_with(begun), settings)]
        if found and all(role_of(key) is Role.COPY for key in found):
            group = found[0].partition(".")[0]
            raise UserError(f"This run would repeat {begun.parent.name}: {group} has no effect here.")


def _begun_with(begun: Path) -> Any:
    """The config of a job that has begun."""
    try:
        return read_json(begun)["config"]
    except (ValueError, KeyError) as error:
        raise UserError(f"{begun} is damaged ({error}): delete it.") from error


def settings_of(config: DictConfig) -> Any:
    """The whole config as JSON gives it back."""
    return json.loads(json.dumps(OmegaConf.to_container(config, resolve=True), default=str))


def begin(folder: Path, config: DictConfig, kind: str = RUN, resuming: bool = False) -> None:
    """Write `begun.json`: what a run, or another kind of job, was told and when; it marks the folder as one of ours.

    A run that is resumed was started when it was started first.
    """
    when = datetime.fromtimestamp(started(folder)) if resuming else datetime.now()
    begun = when.astimezone().isoformat(timespec="microseconds")
    write_settings(folder / BEGUN, settings_of(config), kind=kind, started=begun)


def write_settings(path: Path, settings: dict[str, Any], **more: str) -> None:
    """Write down what a job was told, with the command, and `more`."""
    command = shlex.join(["python", *sys.orig_argv[1:]])
    content = {"schema": TOLD_SCHEMA, "name": settings.get("name"), "config": settings, **more, "command": command}
    write_json(content, path)
