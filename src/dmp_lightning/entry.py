"""What the entry points share: finding the config, running under Hydra, and telling errors in one sentence."""

import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

PACKAGE = Path(__file__).parent
CONFIG_DIR = str(PACKAGE / "conf")
CHECKPOINTS = "checkpoints"  # folder of a run's checkpoints

USER_ERRORS = (ValueError, OSError, HydraException, OmegaConfBaseException)


def register_resolvers() -> None:
    """`${asset:NAME}`: a file of this package. `${run_dir:NAME,RESUME}`: the folder of a run, an old one to resume."""
    OmegaConf.register_new_resolver("asset", lambda name: str(PACKAGE / "assets" / name), replace=True)
    OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)


def run_dir(name: str, resume: str | None) -> str:
    """A new folder `runs/NAME/TIME`, or the one of the checkpoint to resume where there is one."""
    if resume is not None:
        found = latest_checkpoint(name) if resume == "latest" else Path(resume)
        if found is not None and found.is_file():
            return str(found.parent.parent)
    return f"runs/{name}/{datetime.now():%Y-%m-%d_%H-%M-%S}"


def latest_checkpoint(name: str) -> Path | None:
    """The newest checkpoint of the runs of that name, or None."""
    found = Path("runs", name).glob(f"*/{CHECKPOINTS}/*.ckpt")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def entry_point(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a Hydra command of a function of a config.

    What a user got wrong ends in one sentence on stderr and exit code 1; `HYDRA_FULL_ERROR=1` shows the stack.
    """
    register_resolvers()

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @hydra.main(config_path=CONFIG_DIR, config_name=config_name, version_base="1.3")
        def main(config: DictConfig) -> Any:
            try:
                return task(config)
            except USER_ERRORS as error:
                if os.environ.get("HYDRA_FULL_ERROR") == "1":
                    raise
                sys.exit(f"error: {explanation(error)}")

        return main

    return decorate


def explanation(error: BaseException) -> str:
    """The sentence to show: of the user's mistake itself, not of Hydra's failing to build something."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip()
