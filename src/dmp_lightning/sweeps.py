"""Jobs of a sweep: the folder that the overrides of each name, what has been done before, and how they ended."""

import hashlib
import json
import logging
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from omegaconf import DictConfig, OmegaConf

from dmp_lightning.checkpoints import latest_in
from dmp_lightning.files import replacing
from dmp_lightning.mistakes import MISTAKES, BusyError, explanation
from dmp_lightning.reporting.results import read_results

log = logging.getLogger(__name__)

RESULTS, BEGUN, FAILED = "results.json", "begun.json", "failed.json"
LONGEST = 200  # characters of a folder's name; file systems take 255
ELSEWHERE = (
    "base_results",
    "controls",
    "experiment",
    "launcher",
    "logger",
    "name",
    "resume",
    "run_dir",
    "sweep",
    "sweeper",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
)
"""Keys and groups that do not change what a job finds, or that the folder of the sweep stands for."""


class Pruned(Exception):  # noqa: N818 - not an error
    """A search has seen enough of a job."""


@dataclass(frozen=True)
class Ended:
    """How a job ended: `state` is done, skipped (it had its result), pruned (by a search) or failed (by `error`)."""

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
        metrics = earlier_metrics(config, folder) if OmegaConf.select(config, "sweep") else None
        state = "done" if metrics is None else "skipped"
        if metrics is None:
            metrics = task(config)
        else:
            log.info("Skipped, it has its result: %s", folder)
    except Pruned as end:
        log.info("Pruned %s: %s", end, folder)
        return Ended("pruned", folder, {})
    except Exception as error:
        mistake = isinstance(error, MISTAKES)
        sentence = explanation(error) if mistake else f"{type(error).__name__}: {error}".strip()
        log.error("%s failed: %s", folder, sentence, exc_info=stack or not mistake)
        if not isinstance(error, BusyError):  # then the folder is that of another process
            _write(folder / FAILED, _settings(config), error=sentence)
        return Ended("failed", folder, {}, sentence)
    (folder / FAILED).unlink(missing_ok=True)
    return Ended(state, folder, metrics)


def earlier_metrics(config: DictConfig, folder: Path) -> dict[str, float] | None:
    """The final metrics that are in `folder` already, or None for a job that is to run, from its checkpoint if any.

    Raises:
        ValueError: what is there was made with other settings.
    """
    settings, begun = _settings(config), folder / BEGUN
    given = json.loads(begun.read_text(encoding="utf-8"))["config"] if begun.exists() else None
    if (folder / RESULTS).exists():
        record = read_results(folder / RESULTS)
        _check_same(given or record.config, settings, folder)  # a budget turns keys of the record
        numbers = {name: value for name, value in record.metrics["final"].items() if isinstance(value, float)}
        return numbers | ({"loss_difference": record.paired["overall"]["mean"]} if record.paired else {})
    if given and latest_in(folder) is not None:
        _check_same(given, settings, folder)
    _write(begun, settings)
    return None


def conclude(name: str, jobs: Iterable[Ended]) -> None:
    """Print how the jobs of a sweep ended, in one line.

    Raises:
        ValueError: some failed; it says that line.
    """
    jobs = list(jobs)
    count = Counter(job.state for job in jobs)
    states = ["done", "skipped", *(["pruned"] if count["pruned"] else []), "failed"]
    line = f"{name}: {', '.join(f'{count[state]} {state}' for state in states)}"
    if count["failed"]:
        names = "; ".join(job.folder.name for job in jobs if job.state == "failed")
        raise ValueError(f"{line} ({names}). {FAILED} in their folders says why; the same command tries them again.")
    print(f"{line}.")


def differences(there: Any, here: Any, where: str = "") -> Iterator[str]:
    """Each key of two nested containers with different values, but for those `ELSEWHERE`."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            path = f"{where}.{key}".lstrip(".")
            if not elsewhere(path):
                yield from differences(there.get(key, "missing"), here.get(key, "missing"), path)
    elif there != here:
        yield f"{where} is {there} there, {here} here"


def _check_same(there: Any, here: Any, folder: Path) -> None:
    found = list(differences(there, here))
    if found:
        more = f", and {len(found) - 2} more" if len(found) > 2 else ""
        raise ValueError(
            f"{folder} was made with other settings ({', '.join(found[:2])}{more}): delete it, or name a sweep of its "
            "own with sweep.name=...."
        )


def _settings(config: DictConfig) -> Any:
    """The whole config as JSON gives it back."""
    return json.loads(json.dumps(OmegaConf.to_container(config, resolve=True), default=str))


def elsewhere(key: str) -> bool:
    """Whether a key, or the override of one, changes nothing of what a job finds."""
    key = key.lstrip("+").partition("=")[0]
    return any(key == other or key.startswith(f"{other}.") for other in ELSEWHERE)


def _write(path: Path, settings: dict[str, Any], **more: str) -> None:
    command = shlex.join(["python", *sys.orig_argv[1:]])
    content = {"schema": 1, "name": settings.get("name"), "config": settings, **more, "command": command}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
