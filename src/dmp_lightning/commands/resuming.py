"""Going on with a run takes the settings that it was begun with: what may differ, and what is refused by name."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.earlier import differences, settings_of, write_settings
from dmp_lightning.runs.folder import BEGUN, RUN, read_begun, read_results_config, saved_in
from dmp_lightning.runs.identity import RESUMABLE
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

SHOWN = 12  # differences in a sentence
ENDS = ("T_max", "total_steps")  # of schedules of the rate that turn, or stop, at their end


def check_settings(path: Path, checkpoint: dict[str, Any], config: DictConfig) -> None:
    """Make sure that a run may go on from a checkpoint with the settings of the config.

    Where the checkpoint is of an earlier version and does not hold its settings, what else the folder of its run says
    is taken; where it says nothing, the log does.

    Raises:
        UserError: it was made with others; the sentence names each key with both values.
    """
    here, done = settings_of(config), checkpoint.get("global_step", 0)
    there = checkpoint.get("settings") or _told(path.parent.parent, here)
    if there is None:
        log.warning("The settings that %s was made with are not known, so they could not be compared.", path)
    else:
        found = [sentence for _, sentence in differences(there, here, RESUMABLE)]
        if found:
            more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise UserError(
                f"{path} was made with other settings: {'; '.join(found[:SHOWN])}{more}. Resume with those, or start a "
                "run of its own, without resume."
            )
    if config.budget is not None:  # which counts the steps itself
        return
    steps = config.recipe.max_steps
    if steps < done:
        raise UserError(f"recipe.max_steps={steps}: {path} has done {done} steps already. Choose {done} or more.")
    planned = steps if there is None else there["recipe"]["max_steps"]
    ends = {key: OmegaConf.select(config, f"recipe.lr_scheduler.{key}") for key in ENDS}
    for key, end in ends.items():
        if isinstance(end, int) and steps > max(end, planned if isinstance(planned, int) else steps):
            raise UserError(
                f"recipe.max_steps={steps}: the rate's schedule ends after recipe.lr_scheduler.{key}={end} steps, and "
                f"{path} was made for {planned}. A longer run has to be started anew."
            )


def keep_settings(run_dir: Path) -> None:
    """Keep what Hydra wrote down of a run of an earlier version, as `begun.json`, before Hydra writes it anew."""
    written = run_dir / ".hydra" / "config.yaml"
    if saved_in(run_dir) and written.is_file() and not (run_dir / BEGUN).exists():
        settings = OmegaConf.to_container(OmegaConf.load(written), resolve=False)
        if isinstance(settings, dict) and "recipe" in settings:
            write_settings(run_dir / BEGUN, {str(key): value for key, value in settings.items()}, kind=RUN)


def _told(run_dir: Path, here: dict[str, Any]) -> dict[str, Any] | None:
    """The settings that a run's folder says: all that was told, or what was recorded, less what a budget turned."""
    begun = read_begun(run_dir)
    if begun:
        return begun["config"]
    there = read_results_config(run_dir)
    if there is not None and there.get("budget"):
        for group, key in (("recipe", "max_steps"), ("trainer", "max_steps")):
            there[group][key] = here[group].get(key)
    return there
