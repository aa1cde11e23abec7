"""Taking the folder of a run, so that nobody's files are lost and no two runs work in it."""

from pathlib import Path

from filelock import FileLock, Timeout
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from dmp_lightning.commands.earlier import begin
from dmp_lightning.folders import TakenError, component, remove_unfinished
from dmp_lightning.runs.folder import RESULTS, RUN, check_folder, read_begun, saved_in
from dmp_lightning.user_error import UserError


def claim(config: DictConfig, run_dir: Path, checkpoint: Path | None) -> FileLock:
    """Take the folder of a run for this process and those it starts.

    Raises:
        TakenError: it holds files that are not ours, or another run is at work in it.
        UserError: another has been, and is not to be resumed; or a log would go into a file of the user's.
    """
    lock = FileLock(run_dir / ".lock")
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        run_dir.mkdir(parents=True, exist_ok=True)
        return lock
    check_folder(run_dir, component(config.name, "name"), RUN)
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TakenError(f"Another run is using {run_dir}: wait for it, or choose another folder.") from error
    if config.resume is None and ((run_dir / RESULTS).exists() or saved_in(run_dir)):
        raise UserError(f"{run_dir} holds an earlier run: choose another folder, or continue it with resume=latest.")
    check_logs(config, run_dir)
    if checkpoint is None:
        (run_dir / "metrics.csv").unlink(missing_ok=True)  # of a run that ended before its first checkpoint
    remove_unfinished(run_dir)
    if checkpoint is None:  # else what it was told stays, until it is known that the run can go on
        begin(run_dir, config)
    return lock


def check_logs(config: DictConfig, run_dir: Path) -> None:
    """Make sure that a log which is not in the run's folder does not go on with a file that is not this run's.

    Raises:
        UserError: it would.
    """
    told = read_begun(run_dir).get("config", {}).get("logger", {})
    for name, logger in config.logger.items():
        path = logger.get("path")
        if path is None or not Path(path).exists() or run_dir.resolve() in Path(path).resolve().parents:
            continue
        if told.get(name, {}).get("path") != path:
            raise UserError(f"logger.{name}.path={path} exists, but not from this run: choose a new file.")
