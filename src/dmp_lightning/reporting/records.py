"""All records below a folder: runs, measurements at full length, jobs that failed, and what could not be read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from dmp_lightning.files import check_tensors, read_json
from dmp_lightning.reporting.results import SCHEMA, Results, read_results

RESULTS, FAILED, BEGUN = "results.json", "failed.json", "begun.json"
EVIDENCE = "evidence.safetensors"


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


@dataclass(frozen=True)
class Failure:
    """A job that failed: its whole `config`, its `error` in one sentence, and the `command` that was run."""

    path: Path
    name: str
    config: dict[str, Any]
    error: str
    command: str


@dataclass(frozen=True)
class Records:
    """What a folder holds; `evaluations` are at full length, `warnings` say what could not be read."""

    runs: list[Run] = field(default_factory=list)
    evaluations: list[Run] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_folder(folder: str | Path) -> Records:
    """Read every record below `folder`, in the order of their paths.

    JSON files without a `schema` are no records and are passed over; damaged ones become warnings.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it that could be reported.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}: name one that holds runs, such as runs/digits.")
    found = Records()
    for path in sorted(folder.rglob("*.json")):
        if path.is_file() and path.name != BEGUN:  # which a sweep writes where a job has begun
            try:
                _read(path, found)
            except ValueError as error:
                found.warnings.append(str(error))
    if not (found.runs or found.evaluations or found.failures):
        why = f" {' '.join(found.warnings)}" if found.warnings else ""
        raise FileNotFoundError(f"{folder} holds no results: name a folder with runs that are done.{why}")
    return found


def read_evidence(run: Run) -> dict[str, np.ndarray]:
    """The tensors that a run left for reports, by name; none where it left none.

    Raises:
        ValueError: the file is damaged.
    """
    if run.evidence is None:
        return {}
    try:
        check_tensors(run.evidence)
        return load_file(run.evidence)
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{run.evidence} is damaged ({error}): its samples and gates are left out.") from error


def _read(path: Path, found: Records) -> None:
    try:
        content = read_json(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error}: left out.") from error
    if not isinstance(content, dict) or "schema" not in content:
        if path.name in (RESULTS, FAILED):
            raise ValueError(f"{path} is left out, it is not the record of a run: it has no `schema`.")
        return
    if path.name == FAILED:
        found.failures.append(_failure(path, content))
        return
    run = Run(path, read_results(path), _evidence(path))
    (found.runs if "final" in run.record.metrics else found.evaluations).append(run)


def _failure(path: Path, content: dict[str, Any]) -> Failure:
    if content["schema"] != SCHEMA or not {"config", "error"} <= content.keys():
        raise ValueError(f"{path} is left out, it is not a failed job in schema {SCHEMA}.")
    name, command = str(content.get("name", "")), str(content.get("command", ""))
    return Failure(path, name, content["config"], str(content["error"]), command)


def _evidence(path: Path) -> Path | None:
    beside = path.with_name(EVIDENCE) if path.name == RESULTS else path.with_suffix(".safetensors")
    return beside if beside.is_file() else None
