"""Going on with a run takes the settings that it was begun with: what may differ, and what is refused by name."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.earlier import differences, settings_of
from dmp_lightning.runs.identity import RESUMABLE
from dmp_lightning.user_error import UserError

SHOWN = 12  # differences in a sentence
ENDS = ("T_max", "total_steps")  # of schedules of the rate that turn, or stop, at their end


def check_settings(path: Path, checkpoint: dict[str, Any], config: DictConfig) -> None:
    """Make sure that a run may go on from a checkpoint with the settings of the config.

    Raises:
        UserError: it was made with others; the sentence names each key with both values. Or it does not hold them.
    """
    here, there = settings_of(config), checkpoint.get("settings")
    if there is None:
        raise UserError(f"{path} does not hold the settings of its run: start a new run without resume.")
    found = [sentence for _, sentence in differences(there, here, RESUMABLE)]
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(
            f"{path} was made with other settings: {'; '.join(found[:SHOWN])}{more}. Resume with those, or start a "
            "new run without resume."
        )
    if config.budget is None:  # which counts the steps itself
        _check_steps(path, checkpoint["global_step"], there["recipe"]["max_steps"], config)


def _check_steps(path: Path, done: int, planned: int, config: DictConfig) -> None:
    steps = config.recipe.max_steps
    if steps < done:
        raise UserError(f"recipe.max_steps={steps}: {path} has already done {done} steps. Choose {done} or more.")
    ends = {key: OmegaConf.select(config, f"recipe.lr_scheduler.{key}") for key in ENDS}
    for key, end in ends.items():
        if isinstance(end, int) and steps > max(end, planned):
            raise UserError(
                f"recipe.max_steps={steps}: the rate's schedule ends after recipe.lr_scheduler.{key}={end} steps, and "
                f"{path} was made for {planned}: start a new run for a longer schedule."
            )
