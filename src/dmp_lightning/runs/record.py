"""The record of a run, `results.json`: what was measured, and all that is needed to measure it again."""

import logging
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dmp_lightning.files import read_json, write_json
from dmp_lightning.runs.record_shape import OtherRecord, RunRecord, check
from dmp_lightning.runs.said import SaidBase, SaidMeasure, SaidMethod
from dmp_lightning.runs.texts import cut
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)

SCHEMA = 2
PACKAGES = ("dmp-lightning", "torch", "lightning", "torchmetrics", "timm", "diffusers", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Results:
    """The record of one run, as `results.json` holds it.

    `base`, `measure` and `method` say what was measured: runs are compared by them alone. `sweep` is the name of the
    sweep that the run belongs to, `axes` its values on the axes of that sweep. `config` is the whole config, resolved,
    in plain containers, and `seeds` names each seed that was used, or the list of several. `metrics` maps each model to
    its numbers by name.
    `versions`, `commit`, `machine` and `command` come from `provenance`.
    """

    name: str
    base: SaidBase
    measure: SaidMeasure
    method: SaidMethod
    sweep: str | None
    axes: dict[str, Any]
    config: dict[str, Any]
    seeds: dict[str, Any]
    metrics: dict[str, Any]
    versions: dict[str, str]
    commit: str
    machine: dict[str, Any]
    command: str

    @property
    def trained(self) -> bool:
        """Whether anything was trained: the frozen base has one model, measured once."""
        return self.method.parameters > 0


def provenance(device: str) -> dict[str, Any]:
    """The fields `versions`, `commit`, `machine` and `command` of `Results`, for this process computing on `device`."""
    packages = {name.replace("-", "_"): version(name) for name in PACKAGES}
    return {
        "versions": {"python": platform.python_version()} | packages,
        "commit": commit(),
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "processor": processor(),
            "device": device,
            "card": _card(device),
        },
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
    }


def processor() -> str:
    """The processor's name, where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if os.path.exists("/proc/cpuinfo") else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _card(device: str) -> str | None:
    """The name of a GPU."""
    if not device.startswith("cuda"):
        return None
    import torch  # which a report, that only reads records, does without

    return torch.cuda.get_device_name(device)


def commit() -> str:
    """The commit of the checkout that this package runs from, with `-dirty` after it where tracked files differ.

    Where it runs from no checkout, as when it is installed from a wheel: `dmp_lightning` and the version.
    """
    package = Path(__file__).parents[1]
    try:
        # A wheel may be installed inside somebody else's checkout, so ask whether that tracks this very package.
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return f"dmp_lightning {version('dmp-lightning')}"


def write_results(results: Results, path: str | Path) -> Path:
    """Write the record as strict JSON, at once or not at all, and return its path.

    JSON has no NaN and no infinity: such a number is written as null, and the log says which.

    Raises:
        UserError: the record holds something that is neither a number, a text, nor a container of these.
        OSError: it cannot be written.
    """
    content = {"schema": SCHEMA} | _plain(asdict(results), "results")
    write_json(content, Path(path), indent=1)
    return Path(path)


def read_results(path: str | Path) -> Results:
    """Read the record of a run.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no record, lacks a field, or was written in another schema.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There are no results at {path}: run the command that writes them, or check the path.")
    try:
        content = read_json(path)
    except ValueError as error:
        raise UserError(f"{error}: restore it, or run again.") from error
    try:
        return record_of(content)
    except ValueError as error:
        raise UserError(f"{path} {error}: restore it, or run again.") from error


def record_of(content: Any) -> Results:
    """The record that the content of a file is.

    Raises:
        UserError: it is no record of this schema, lacks a field, or has one of another type.
    """
    if not isinstance(content, dict) or "schema" not in content:
        raise UserError("is not the record of a run (no `schema`)")
    if type(content["schema"]) is not int or content["schema"] != SCHEMA:
        raise UserError(f"is not in results schema {SCHEMA}, which this version reads")
    held = {key: value for key, value in content.items() if key != "schema"}
    names = {field.name for field in fields(Results)}
    if names != held.keys():
        wrong = ", ".join(sorted(names ^ held.keys()))
        raise UserError(f"has missing or unknown fields: {wrong[:200]}")
    trained = isinstance(held["metrics"], dict) and "final" in held["metrics"]
    try:
        check(RunRecord if trained else OtherRecord, held)
    except ValueError as error:
        raise UserError(f"is not the record of a run ({error})") from error
    said = {"base": SaidBase, "measure": SaidMeasure, "method": SaidMethod}
    return Results(**held | {part: _said(kind, held[part]) for part, kind in said.items()})


def _said(kind: Any, part: dict[str, Any]) -> Any:
    """A part of a record, with settings that are short enough to be shown."""
    return kind(**part | {"settings": {cut(key): cut(text) for key, text in part["settings"].items()}})


def _plain(value: Any, where: str) -> Any:
    """`value` in containers and numbers that JSON has; arrays and tensors become lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), where)
    if isinstance(value, float) and not math.isfinite(value):
        log.warning("%s is %s: written as null.", where, value)
        return None
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise UserError(f"{where} is a {type(value).__name__}: results hold only numbers, texts and containers of these.")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
