"""Weights & Biases, online where it can be and offline where it cannot, and never asking anything."""

import logging
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from pydantic import ValidationError

from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
REMEDY = "Run `wandb login --relogin` or set WANDB_API_KEY, or leave the server out with WANDB_MODE=offline."
FLUSH_SECONDS = 1.0  # what a killed run may lose of its W&B history; by default 15
STEP = "trainer/global_step"  # Lightning's name of it
SUMMARY = "min,last"  # every metric of ours is the better the lower it is
TAG_LENGTH = 64  # W&B takes no longer ones


class RunLogger(WandbLogger):
    """Lightning's logger, which defines each metric when it comes first: against the step, its best and last kept.

    The summary of `val/loss` is then `val/loss.min` and `val/loss.last`.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._wandb_init.pop("anonymous")  # Lightning's, of which W&B says that it has no effect
        self._defined: set[str] = set()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        for name, value in metrics.items():
            if name.startswith(("train/", "val/")) and isinstance(value, int | float) and name not in self._defined:
                # By its name: of patterns that overlap, as `val/*` does with Lightning's `*`, W&B takes any.
                self.experiment.define_metric(name, step_metric=STEP, step_sync=True, summary=SUMMARY)
                self._defined.add(name)
        super().log_metrics(metrics, step)


def wandb_logger(
    project: str,
    name: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    save_dir: str | Path = ".",
    sweep: Mapping[str, Any] | None = None,
) -> RunLogger:
    """A logger for one W&B run; call `finish` at its end, so that the next job of this process gets its own.

    The run is online if a key is configured and the server answers; else offline, in `save_dir`, and one line says how
    to sync it. A mode that the user chose (WANDB_MODE, `wandb offline`) is left as it is.

    Args:
        project, name, group, tags: as the run shows them; without tags those of WANDB_TAGS.
        save_dir: the folder of the run; W&B writes into `wandb/` there, and goes on with a run that it finds there.
        sweep: its `name`, which the group then carries unless it is that of WANDB_RUN_GROUP, and the run's value on
            each of its `axes`, which are tags.

    Raises:
        UserError: the server refuses the key or the run, or WANDB_MODE asks for an online run that cannot be.
    """
    with _told():
        settings = wandb.setup().settings
    # Not drawn from a generator that the run has seeded: jobs of the same seed are different runs.
    id, mode = last_run_id(save_dir) or secrets.token_hex(4), settings.mode
    obstacle = why_offline(settings) if mode == "online" else None
    if obstacle:
        mode = "offline"
        folders = f"{shlex.quote(str(save_dir))}/wandb/*-{id}"
        log.warning("W&B runs offline (%s). To upload later: wandb sync %s", obstacle, folders)
    axes = sweep["axes"] if sweep else {}
    # The folder must be there: W&B writes to a temporary one instead of making it.
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    with _told():
        logger = RunLogger(
            project=project,
            name=name,
            group=group if group == os.environ.get("WANDB_RUN_GROUP") else sweep_group(group, sweep) or None,
            tags=[*(tags or _tags_of_environment()), *(f"{axis}={value}"[:TAG_LENGTH] for axis, value in axes.items())],
            save_dir=save_dir,
            id=id,
            # Not Lightning's `offline`, which would set the mode of all later runs of this process too.
            mode=mode,
            # The line above says all there is to say.
            settings=wandb.Settings(
                silent=settings.silent or obstacle is not None,
                x_transaction_log_flush_interval=FLUSH_SECONDS,
            ),
        )
        _ = logger.experiment  # begins the run now, before any work
    return logger


@contextmanager
def _told() -> Iterator[None]:
    """Tell in one sentence if W&B refuses a setting, the key or the run.

    Raises:
        UserError: it does.
    """
    try:
        yield
    except wandb.Error as error:
        raise UserError(f"W&B cannot start the run: {error}. {REMEDY}") from error
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors()
        )
        raise UserError(f"W&B refuses {told}. Change logger.wandb, or the variable WANDB_....") from error


def _tags_of_environment() -> list[str]:
    """Those that W&B would take by itself, if it were given none."""
    return [tag for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag]


def sweep_group(group: str | None, sweep: Mapping[str, Any] | None) -> str:
    """The W&B group of a run: its own, and the sweep's name after it."""
    return "-".join(part for part in (group, sweep["name"] if sweep else None) if part)


def finish() -> None:
    """End the W&B run of this process, if there is one, and wait until all of it is written."""
    wandb.finish()


def last_run_id(save_dir: str | Path) -> str | None:
    """The id of the W&B run that was last begun in the folder of a run, or None: what a resumed run goes on with."""
    names = [folder.name.removeprefix("offline-") for folder in Path(save_dir).glob("wandb/*run-*-*")]
    return max(names).rpartition("-")[-1] if names else None


def why_offline(settings: wandb.Settings) -> str | None:
    """Why W&B cannot be online, or None. Names the server, never the key.

    Raises:
        UserError: the key is malformed, or WANDB_MODE asks for what cannot be.
    """
    silent, settings.silent = settings.silent, True  # or W&B asks the server for the user's name, to greet
    try:
        known = wandb.login(prompt=False, verify=False)  # looks where `wandb.init` does, and asks nobody
    except wandb.Error as error:
        raise UserError(f"{error} {REMEDY}") from error
    finally:
        settings.silent = silent
    if not known:
        obstacle = "no W&B key is configured, see `wandb login`"
    elif not _answers(settings.base_url):
        obstacle = f"{urlsplit(settings.base_url).hostname} does not answer"
    else:
        return None
    if os.environ.get("WANDB_MODE") == "online":
        raise UserError(f"WANDB_MODE=online, but {obstacle}. Unset WANDB_MODE to run offline.")
    return obstacle


def _answers(server: str) -> bool:
    """Whether a server is there and works; it gets no key."""
    try:
        urlopen(server, timeout=ANSWER_SECONDS).close()
    except HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True
