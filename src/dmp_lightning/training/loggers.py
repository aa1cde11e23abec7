"""Weights & Biases, online where it can be and offline where it cannot, and never asking anything."""

import logging
import os
import secrets
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import wandb
from lightning.pytorch.loggers import WandbLogger
from wandb.errors import AuthenticationError
from wandb.sdk.lib.wbauth import authenticate_session

log = logging.getLogger(__name__)

PROBE_SECONDS = 2.0
FLUSH_SECONDS = 1.0  # what a killed run may lose of its W&B history; by default 15


def wandb_logger(
    project: str,
    name: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    save_dir: str | Path = ".",
) -> WandbLogger:
    """A logger for one W&B run; call `finish` at its end, so that the next job of this process gets its own.

    The run is online if a key is configured and the server answers; else offline, in `save_dir`, and one line says how
    to sync it. A mode that the user chose (WANDB_MODE, `wandb offline`) is left as it is.

    Args:
        project, name, group, tags: as the run shows them.
        save_dir: the folder of the run; W&B writes into `wandb/` there, and goes on with a run that it finds there.

    Raises:
        ValueError: WANDB_MODE asks for an online run, and no key is configured.
    """
    settings = wandb.setup().settings
    # Not drawn from a generator that the run has seeded: jobs of the same seed are different runs.
    id, mode = last_run_id(save_dir) or secrets.token_hex(4), settings.mode
    obstacle = _obstacle(settings) if mode == "online" else None
    if obstacle:
        mode = "offline"
        folders = f"{shlex.quote(str(save_dir))}/wandb/*-{id}"
        log.warning("W&B runs offline (%s). To upload later: wandb sync %s", obstacle, folders)
    # The folder must be there: W&B writes to a temporary one instead of making it.
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        project=project,
        name=name,
        group=group,
        tags=list(tags),
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


def finish() -> None:
    """End the W&B run of this process, if there is one, and wait until all of it is written."""
    wandb.finish()


def last_run_id(save_dir: str | Path) -> str | None:
    """The id of the W&B run that was last begun in the folder of a run, or None: what a resumed run goes on with."""
    names = [folder.name.removeprefix("offline-") for folder in Path(save_dir).glob("wandb/*run-*-*")]
    return max(names).rpartition("-")[-1] if names else None


def _obstacle(settings: wandb.Settings) -> str | None:
    """Why the run cannot be online, or None. Names the server, never the key."""
    demanded = os.environ.get("WANDB_MODE") == "online"
    try:
        # Where `wandb.init` looks as well: the environment, the netrc file, the settings. It asks where this does not.
        has_key = authenticate_session(host=settings.base_url, source="", prompt=False, update_session=False)
    except AuthenticationError as error:
        return str(error)
    if not has_key and demanded:
        raise ValueError("WANDB_MODE=online, but no W&B key is configured: run `wandb login`, or unset WANDB_MODE.")
    if not has_key:
        return "no API key is configured"
    server = urlsplit(settings.base_url)
    if demanded or _answers(server.scheme, server.hostname or "", server.port):
        return None
    return f"{server.hostname} does not answer"


def _answers(scheme: str, host: str, port: int | None) -> bool:
    """Whether the server, or the proxy that stands before it, takes a connection."""
    proxy = None if proxy_bypass(host) else getproxies().get(scheme)
    if proxy:
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        host, port = parts.hostname or "", parts.port or 80
    try:
        socket.create_connection((host, port or (443 if scheme == "https" else 80)), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True
