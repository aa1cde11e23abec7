"""Jobs of a sweep: the folder that the overrides of each name, how one is run unless it has its result, and the end."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.earlier import earlier_metrics, elsewhere, settings_of, write_settings
from dmp_lightning.commands.errors import explanation, is_mistake
from dmp_lightning.folders import TakenError, component
from dmp_lightning.reports.sweep_table import print_jobs
from dmp_lightning.runs.folder import FAILED, RUN, check_folder
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

NAMED = 3  # failed jobs in the last line
LONGEST = 200  # characters of a folder's name; file systems take 255


@dataclass(frozen=True)
class Ended:
    """The end of a job: `state` is done, skipped (it had its result) or failed (by `error`)."""

    state: str
    folder: Path
    metrics: dict[str, float]
    error: str | None = None


def job_dir(number: int, overrides: Sequence[str], axes: Mapping[str, str] | None, sweep: object) -> str:
    """The folder of a job within that of its sweep: named by its overrides, those of the sweep's `axes` first.

    In a multirun that is no `sweep` of ours it is the job's number.
    """
    if sweep is None:
        return str(number)
    parts = [text.lstrip("+").partition("=") for text in overrides if not elsewhere(text)]
    given = {key: value for key, _, value in parts}
    keys = sorted(given, key=lambda key: (key not in (axes or {}), key))
    # Hydra takes such a path as it is, as in patch=..., where = and a comma would need quotes.
    name = "+".join(f"{quote(key, safe='')}-{quote(given[key], safe='')}" for key in keys)
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def run_job(task: Callable[[DictConfig], dict[str, float]], config: DictConfig, folder: Path, stack: bool) -> Ended:
    """Run a job of a sweep unless it has its result, and tell how it ended; what fails is written down.

    Args:
        stack: whether the log shows the stack of a user's mistake too.
    """
    try:
        check_folder(folder, component(config.name, "name"), RUN, "hydra.sweep.dir")
        metrics = earlier_metrics(config, folder) if OmegaConf.select(config, "sweep") else None
        state = "done" if metrics is None else "skipped"
        if metrics is None:
            metrics = task(config)
        else:
            log.info("Skipped, already done: %s", folder)
    except Exception as error:
        mistake = is_mistake(error)
        sentence = explanation(error) if mistake else f"{type(error).__name__}: {error}".strip()
        log.error("%s failed: %s", folder, sentence, exc_info=stack or not mistake)
        if not isinstance(error, TakenError):  # then nothing is written into the folder
            write_settings(folder / FAILED, settings_of(config), error=sentence)
        return Ended("failed", folder, {}, sentence)
    (folder / FAILED).unlink(missing_ok=True)
    return Ended(state, folder, metrics)


def conclude(name: str, jobs: Iterable[Ended]) -> None:
    """Print the table of a sweep, and how its jobs ended, in one line.

    Raises:
        UserError: some failed; it says that line.
    """
    jobs = list(jobs)
    print_jobs([(job.state, job.folder) for job in jobs])
    count = Counter(job.state for job in jobs)
    line = f"{name}: {', '.join(f'{count[state]} {state}' for state in ('done', 'skipped', 'failed'))}"
    if count["failed"]:
        failed = [job.folder.name for job in jobs if job.state == "failed"]
        names = "; ".join(failed[:NAMED]) + (f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else "")
        raise UserError(f"{line} ({names}). {FAILED} in their folders says why; the same command tries them again.")
    print(f"{line}.")
