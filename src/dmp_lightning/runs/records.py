"""All records below a folder: runs, measurements at full length, jobs that failed, and what could not be read."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmp_lightning.files import read_json
from dmp_lightning.runs.folder import BEGUN, EVIDENCE, FAILED, RESULTS, TOLD_SCHEMA
from dmp_lightning.runs.record import Results, record_of
from dmp_lightning.runs.record_shape import LARGEST as MOST
from dmp_lightning.runs.record_shape import FailedRecord, check
from dmp_lightning.runs.texts import visible, visible_all
from dmp_lightning.user_error import MissingFileError, UserError

LARGEST = 64 << 20  # bytes of a record
NAMED = 3  # of what was left out, where nothing is left


@dataclass(frozen=True)
class Run:
    """A record and the file that it is from; `evidence` is the file of samples and gates beside it, or None."""

    path: Path
    record: Results
    evidence: Path | None

    @property
    def seed(self) -> int | None:
        """Of training."""
        return self.record.seeds.get("training")

    @property
    def final(self) -> dict[str, Any]:
        """The metrics at the end of a training."""
        return self.record.metrics["final"]

    @property
    def where(self) -> str:
        """The path to be shown."""
        return visible(self.path)


@dataclass(frozen=True)
class Failure:
    """A job that failed: its `error` in one sentence, and the `command` that was run."""

    path: Path
    name: str
    error: str
    command: str

    @property
    def where(self) -> str:
        """The path to be shown."""
        return visible(self.path)

    @property
    def folder(self) -> str:
        """The name of the job's folder, to be shown."""
        return visible(self.path.parent.name)


@dataclass(frozen=True)
class Records:
    """The content of a folder; `evaluations` are at full length, `warnings` say what could not be read."""

    runs: list[Run] = field(default_factory=list)
    evaluations: list[Run] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_folder(folder: str | Path) -> Records:
    """Read every record below `folder`, in the order of their paths.

    JSON files without a `schema` are no records and are passed over; what cannot be read becomes a warning.

    Raises:
        MissingFileError: there is no such folder, or nothing in it that could be reported.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder}: name one that holds runs, such as runs/digits.")
    found = Records()
    for path in sorted(_json_files(folder, found.warnings)):
        try:
            _read(path, found)
        except ValueError as error:
            found.warnings.append(f"{visible(path)} is left out: it {error}.")
    if not (found.runs or found.evaluations or found.failures):
        more = f" And {len(found.warnings) - NAMED} more." if len(found.warnings) > NAMED else ""
        why = f" {' '.join(found.warnings[:NAMED])}{more}" if found.warnings else ""
        raise MissingFileError(f"{folder} holds no results: name a folder with finished runs.{why}")
    return found


def _json_files(folder: Path, warnings: list[str]) -> Iterator[Path]:
    """Paths below the folder that end in .json; a linked folder is not entered, as it may lead in a circle."""

    def refused(error: OSError) -> None:
        warnings.append(f"{visible(error.filename)} is left out: it cannot be read ({error.strerror}).")

    for where, folders, files in os.walk(folder, onerror=refused):
        for name in folders:
            path = Path(where, name)
            if name in (RESULTS, FAILED):
                warnings.append(f"{visible(path)} is left out: it is a folder.")
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                warnings.append(f"{visible(path)} is left out: it is a link to a folder elsewhere.")
        yield from (Path(where, name) for name in files if name.endswith(".json") and name != BEGUN)


def _read(path: Path, found: Records) -> None:
    """Add what the file holds.

    Raises:
        UserError: it is no record, in words that follow its name.
    """
    content = visible_all(_content(path))
    if not isinstance(content, dict) or "schema" not in content:
        if path.name in (RESULTS, FAILED):
            raise UserError("is not the record of a run (no `schema`)")
        return
    if path.name == FAILED:
        found.failures.append(_failure(path, content))
        return
    run = Run(path, record_of(content), _evidence(path))
    if "final" in run.record.metrics:
        found.runs.append(run)
        return
    for model, metrics in run.record.metrics.items():
        if not isinstance(metrics, dict) or any(isinstance(x, int | float) and abs(x) > MOST for x in metrics.values()):
            raise UserError(f"is not the record of an evaluation (metrics.{model[:40]} should hold numbers by name)")
    found.evaluations.append(run)


def _content(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        if not path.is_file():
            raise UserError("is a broken link" if path.is_symlink() else "is not a file")
        if path.stat().st_size > LARGEST:
            raise UserError(f"is larger than {LARGEST >> 20} MiB, too large for a record")
        return read_json(path)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(str(error).removeprefix(f"{path} ")) from error


def _failure(path: Path, content: dict[str, Any]) -> Failure:
    if type(content["schema"]) is not int or content["schema"] != TOLD_SCHEMA:
        raise UserError(f"is not a failed job in schema {TOLD_SCHEMA}")
    try:
        check(FailedRecord, content)
    except ValueError as error:
        raise UserError(f"is not a failed job ({error})") from error
    return Failure(path, str(content.get("name") or ""), content["error"], content.get("command") or "")


def _evidence(path: Path) -> Path | None:
    beside = path.with_name(EVIDENCE) if path.name == RESULTS else path.with_suffix(".safetensors")
    return beside if beside.exists() or beside.is_symlink() else None  # a link to nothing is to be told
