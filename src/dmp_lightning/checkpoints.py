"""Finding the run to go on with, and its checkpoint; it needs nothing but the file system."""

import logging
from pathlib import Path

from dmp_lightning.files import DamagedError, check_zip

log = logging.getLogger(__name__)

FOLDER = "checkpoints"  # of a run's folder
PATTERN = "step-*.ckpt"
AUTO = "auto"  # resume=auto: begin in a new folder, and go on there if started again


def latest_run(runs: Path) -> Path:
    """The folder of the run among `runs` that was last at work.

    Raises:
        FileNotFoundError: none has a checkpoint.
    """
    found = max(runs.glob(f"**/{FOLDER}/{PATTERN}"), key=lambda path: path.stat().st_mtime, default=None)
    if found is None:
        raise FileNotFoundError(f"{runs} has no checkpoint to resume: start without resume, or name another.")
    return found.parent.parent


def checkpoint_to_resume(run_dir: Path, resume: str | None) -> Path | None:
    """The checkpoint that `resume` means in the folder of a run: none, the latest if it has one, or a path.

    Raises:
        FileNotFoundError: there is none at that path.
        ValueError: it is damaged.
    """
    if resume is None:
        return None
    if resume in ("latest", AUTO):
        found = latest_in(run_dir)
        if found is None and any((run_dir / FOLDER).glob(PATTERN)):
            raise ValueError(f"All checkpoints of {run_dir} are damaged: start anew, without resume.")
        return found
    path = Path(resume)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint at {path} to resume: start without resume, or name another.")
    if not is_whole(path):
        raise ValueError(f"The checkpoint {path} is damaged: resume an older one, or resume=latest.")
    return path


def latest_in(run_dir: Path) -> Path | None:
    """The furthest checkpoint of a run that is readable, or None; warns of damaged ones."""
    for path in sorted((run_dir / FOLDER).glob(PATTERN), key=step_of, reverse=True):
        if is_whole(path):
            return path
        log.warning("The checkpoint %s is damaged: going on from the one before it.", path)
    return None


def step_of(path: Path) -> int:
    """The step after which a checkpoint was taken."""
    return int(path.stem.removeprefix("step-"))


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is as it was written."""
    try:
        check_zip(path)
    except DamagedError:
        return False
    return True
