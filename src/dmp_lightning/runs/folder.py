"""Finding the run to go on with, and its checkpoint; it needs nothing but the file system."""

import logging
import re
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

from dmp_lightning.files import DamagedError, read_json
from dmp_lightning.folders import TakenError, check_free
from dmp_lightning.runs.sealing import check_zip
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)

# Files in the folder of a run.
RESULTS, BEGUN, FAILED, EVIDENCE = "results.json", "begun.json", "failed.json", "evidence.safetensors"
TOLD_SCHEMA = 1  # of files that hold what a job was told: begun.json, failed.json
FOLDER = "checkpoints"
PATTERN, NAME = "step-*.ckpt", r"step-(\d+)\.ckpt"
RUN, EVALUATION, SAMPLES = "run", "evaluation", "samples"  # kinds of jobs with a folder of their own
CHUNKS = r"(reference|base|patched)-[0-9a-f]{16}"  # folders of an evaluation
AUTO = "auto"  # resume=auto: begin in a new folder, and go on there if started again
TIME = "%Y-%m-%d_%H-%M-%S"  # how the folder of a run is named
HELD, LOOKED_AT = b"csv_rows", 2**24  # in every checkpoint of ours, and how many bytes are searched for it


def latest_run(runs: Path) -> Path:
    """The folder of the run among `runs` that was started last, of those that have a checkpoint.

    Raises:
        MissingFileError: none has.
    """
    folders = {path.parent for path in runs.glob(f"**/{FOLDER}") if saved_in(path.parent)}
    if not folders:
        raise MissingFileError(f"{runs} has no checkpoint to resume: start without resume, or name another.")
    return max(folders, key=lambda folder: (started(folder), folder))


def started(run_dir: Path) -> float:
    """When a run was started, in seconds: as it says, else as its folder is named, else the time of its checkpoint."""
    begun = read_begun(run_dir)
    try:
        return datetime.fromisoformat(begun["started"]).timestamp()
    except (KeyError, TypeError, ValueError):
        pass  # begun by an earlier version
    try:
        return datetime.strptime(run_dir.name, TIME).timestamp()
    except ValueError:
        return max(path.stat().st_mtime for path in saved_in(run_dir))


def read_begun(run_dir: Path) -> dict[str, Any]:
    """The file that a run, or a job of another `kind`, wrote when it began: `config`, `command`, `started` (a time).

    Empty where there is nothing, or something else.
    """
    return _record(run_dir / BEGUN)


def read_results_config(run_dir: Path) -> dict[str, Any] | None:
    """The config that a finished run recorded, or None."""
    record = _record(run_dir / RESULTS)
    return record["config"] if "final" in record.get("metrics", {}) else None


def check_folder(folder: Path, name: str, kind: str, option: str | None = None) -> None:
    """Make sure that the folder of a job of that `kind`, called `name`, is new, empty or that of such a job of ours.

    Hydra's log is not counted. `option` is what chooses the folder, where it is not the usual one.

    Raises:
        TakenError: it is none of these.
    """
    option = option or ("hydra.run.dir" if kind == RUN else "run_dir")
    remedy = f"choose a new or an empty folder with {option}=...."
    written = folder / ".hydra" / "config.yaml"  # Hydra replaces it; of our jobs it names where the base's results are
    if written.is_file() and b"base_results" not in (written.read_bytes() or b"base_results"):
        raise TakenError(f"{folder} is the folder of another Hydra job: {remedy}")
    check_free(folder, lambda folder: is_of(folder, kind), remedy, (f"{name}.log",))


def is_of(folder: Path, kind: str) -> bool:
    """Whether a job of that kind has begun in a folder; earlier versions of this package left no `begun.json`."""
    if kind == RUN or is_run(folder):
        return kind == RUN and is_run(folder)
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".log"]
    chunks = kind == EVALUATION and all(re.fullmatch(CHUNKS, name) for name in names)
    return chunks or read_begun(folder).get("kind") == kind or (kind == EVALUATION and bool(_record(folder / RESULTS)))


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run of ours: it has begun, has its results, or has a checkpoint."""
    if read_begun(folder).get("kind") == RUN or read_results_config(folder) is not None:
        return True
    return any(is_ours(path) for path in saved_in(folder))


def _record(path: Path) -> dict[str, Any]:
    """A JSON file that tells the config of a run; empty where there is none, or it is something else."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    ours = isinstance(content, dict) and "schema" in content and isinstance(content.get("config"), dict)
    return {"kind": RUN} | content if ours else {}  # earlier versions said no kind


def checkpoint_to_resume(run_dir: Path, resume: str | None) -> Path | None:
    """The checkpoint that `resume` means in the folder of a run: none, the latest if it has one, or a path.

    Raises:
        MissingFileError: there is none at that path.
        UserError: it is damaged, or of something else.
    """
    if resume is None:
        return None
    if resume in ("latest", AUTO):
        found = latest_in(run_dir)
        if found is None and saved_in(run_dir):
            raise UserError(f"All checkpoints of {run_dir} are damaged: start again without resume.")
        return found
    path = Path(resume)
    if not path.is_file():
        raise MissingFileError(f"There is no checkpoint at {path} to resume: start without resume, or name another.")
    if not is_whole(path):
        raise UserError(f"The checkpoint {path} is damaged: resume an older one, or resume=latest.")
    if not is_ours(path):
        raise UserError(
            f"{path} is not a checkpoint of dmp-lightning, or holds more than tensors and plain values: choose another."
        )
    return path


def latest_in(run_dir: Path) -> Path | None:
    """The furthest checkpoint of a run that is readable, or None; warns of damaged ones."""
    for path in reversed(saved_in(run_dir)):
        if is_whole(path):
            return path
        log.warning("The checkpoint %s is damaged: resuming from the one before.", path)
    return None


def saved_in(run_dir: Path) -> list[Path]:
    """The checkpoints of a run, damaged ones too, in the order of their steps."""
    found = [path for path in (run_dir / FOLDER).glob(PATTERN) if re.fullmatch(NAME, path.name)]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is as it was written."""
    try:
        check_zip(path)
    except DamagedError:
        return False
    return True


def is_ours(path: Path) -> bool:
    """Whether a checkpoint is one of a run of ours; found without reading its tensors, or torch."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return any(HELD in archive.open(name).read(LOOKED_AT) for name in names)
    except (OSError, zipfile.BadZipFile):
        return False
