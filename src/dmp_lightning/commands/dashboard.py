"""The dashboard of a project on W&B, saved there, or written as a specification where there is no W&B."""

import json
import logging
from collections.abc import Iterable, Mapping
from itertools import groupby
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple

import wandb
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from dmp_lightning.commands.panels import Group, dashboard
from dmp_lightning.files import replacing
from dmp_lightning.runs.record import Results
from dmp_lightning.runs.record_shape import is_distance
from dmp_lightning.training.loggers import REMEDY, sweep_group, why_offline
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """A run of the project: its group, its value on each axis of its sweep, and the names of what it has logged."""

    group: str
    axes: Mapping[str, Any]
    keys: frozenset[str]


def build_dashboard(target: str, results: Iterable[Results], output: Path) -> list[str]:
    """Save a workspace and a report, or write what they would be into a file where W&B cannot be reached.

    Args:
        target: ENTITY/PROJECT.
        results: records of runs; they say what there is to show where the project itself cannot be asked.
        output: the file, of JSON.

    Returns:
        The URLs of the workspace and the report, or the path of the file.

    Raises:
        UserError: `target` is no ENTITY/PROJECT, the server refuses, or there is no run to show.
        OSError: the file cannot be written.
    """
    entity, _, project = target.partition("/")
    if not entity or not project or "/" in project:
        raise UserError(f"wandb={target} names no project: write wandb=ENTITY/PROJECT.")
    settings = wandb.setup().settings
    obstacle = why_offline(settings) if settings.mode == "online" else f"its mode is {settings.mode}"
    if obstacle is None:
        return _save(entity, project)
    groups = groups_of(run_of_record(record) for record in results if _wandb(record) is not None)
    if not groups:
        raise UserError(
            f"W&B is offline ({obstacle}), and there are no results of runs that it logged: name their folder."
        )
    workspace, report = dashboard(entity, project, groups, online=False)
    # Only this method hands the specification out; saving sends the same.
    models = {"workspace": workspace._to_model(), "report": report._to_model()}
    content = {name: model.model_dump(mode="json", by_alias=True, exclude_none=True) for name, model in models.items()}
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    again = "`wandb sync` the runs, then give this command again with a key"
    log.warning(
        "W&B is offline (%s): the dashboard's specification is in %s. To create it: %s.", obstacle, output, again
    )
    return [str(output)]


def run_of_record(record: Results) -> Run:
    """The run of a record as W&B has it, by the record alone."""
    keys = {f"val/{name}" for name in record.metrics["final"] if is_distance(name)}
    if record.trained:
        keys |= {"val/loss_difference_mean", "val/loss_difference", "val/samples"}
        if record.method.settings.get("method") == "DMP":
            keys.add("val/gates")
    group = (_wandb(record) or {}).get("group")
    return Run(sweep_group(str(group or ""), {"name": record.sweep or ""}), record.axes, frozenset(keys))


def _wandb(record: Results) -> dict[str, Any] | None:
    """The settings of W&B's logger, if a run had it; a record may be anybody's."""
    logger = record.config.get("logger")
    found = logger.get("wandb") if isinstance(logger, dict) else None
    return found if isinstance(found, dict) else None


def groups_of(runs: Iterable[Run]) -> list[Group]:
    """The groups of the runs, by name."""
    groups = []
    for name, members in groupby(sorted(runs, key=lambda run: run.group), key=lambda run: run.group):
        held = list(members)
        axes = {axis: [run.axes[axis] for run in held if axis in run.axes] for run in held for axis in run.axes}
        numeric = {axis: all(isinstance(value, Number) for value in values) for axis, values in axes.items()}
        groups.append(Group(name, numeric, frozenset().union(*(run.keys for run in held))))
    return groups


def _save(entity: str, project: str) -> list[str]:
    try:
        groups = groups_of(
            Run(run.group, (run.config.get("sweep") or {}).get("axes", {}), frozenset(run.summary.keys()))
            for run in wandb.Api().runs(f"{entity}/{project}")
            if run.group
        )
        if not groups:
            raise UserError(
                f"{entity}/{project} has no runs: train with logger=wandb_csv, or `wandb sync` offline runs."
            )
        return [part.save().url for part in dashboard(entity, project, groups, online=True)]
    except (wandb.Error, WandbApiFailedError) as error:
        raise UserError(f"W&B refused the dashboard of {entity}/{project}: {error}. {REMEDY}") from error
