"""Running a function of a config as a command: under Hydra, with a user's mistakes told in one sentence."""

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dmp_lightning.commands.checks.acting import check_acting, keys_of
from dmp_lightning.commands.checks.quoting import in_order, readable
from dmp_lightning.commands.checks.values import check_values
from dmp_lightning.commands.errors import check_order, check_top_level, explanation, is_mistake
from dmp_lightning.commands.resolvers import register_resolvers
from dmp_lightning.commands.run_settings import arguments_of_run, with_run
from dmp_lightning.commands.trust.config_files import check_written, typed_keys
from dmp_lightning.commands.trust.config_loader import CONFIG_DIR, install
from dmp_lightning.commands.trust.trusted import check_targets

FULL_ERROR = "HYDRA_FULL_ERROR"
SWEEPER = "hydra_plugins.dmp_lightning_sweepers.GridSweeper"  # which knows what `run_job` returns


def run(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run a function of a config as a Hydra command.

    What a user got wrong ends in one sentence on stderr and exit code 1; `HYDRA_FULL_ERROR=1` shows the stack.
    """
    wanted = os.environ.get(FULL_ERROR)

    @hydra.main(config_path=CONFIG_DIR, config_name=config_name, version_base="1.3")
    def job(config: DictConfig) -> Any:
        _set_environment(FULL_ERROR, wanted)  # processes that the task starts have the user's own setting
        hydra_config = HydraConfig.get()
        try:
            os.chdir(hydra_config.runtime.cwd)  # where the command was typed: Ray's workers begin elsewhere
            check_order(hydra_config.overrides.task)
            config = with_run(config, keys_of(hydra_config.overrides.task))
            check_top_level(config, Path(CONFIG_DIR, f"{config_name}.yaml"))
            check_targets(config)
            check_written(config, typed_keys(hydra_config.overrides.task))
            check_values(config, config_name)
            if hydra_config.mode != RunMode.MULTIRUN:  # of a sweep, its sweeper checks all runs together
                check_acting([config], config_name, keys_of(hydra_config.overrides.task))
            if hydra_config.mode == RunMode.MULTIRUN and hydra_config.sweeper._target_ == SWEEPER:
                from dmp_lightning.commands.sweeps import run_job  # which reports on a sweep

                return run_job(task, config, Path(hydra_config.runtime.output_dir), stack=wanted == "1")
            return task(config)
        except Exception as error:
            if wanted == "1" or hydra_config.mode == RunMode.MULTIRUN or not is_mistake(error):
                raise  # the other jobs of a sweep go on
            sys.exit(f"error: {explanation(error)}")
        finally:
            os.environ[FULL_ERROR] = "1"

    os.environ[FULL_ERROR] = "1"  # Hydra hands errors on instead of printing them itself
    try:
        if os.environ.get("COMP_LINE") and {"-sc", "--shell-completion"} & set(sys.argv):
            with suppress(Exception), redirect_stderr(StringIO()):  # Tab in a line that cannot be read shows nothing
                job()
            return
        sys.argv[1:] = readable(arguments_of_run(in_order(sys.argv[1:])), config_name, Path(CONFIG_DIR))
        job()
    except Exception as error:
        if wanted == "1" or not is_mistake(error):
            raise
        referring = [each for each in sys.argv[1:] if "${" in each]
        hint = f" (See {', '.join(referring)}.)" if referring else ""  # Hydra names its own keys alone
        sys.exit(f"error: {explanation(error)}{hint}")
    finally:
        _set_environment(FULL_ERROR, wanted)


def resume_command(checkpoint: Path) -> str:
    """The command that goes on with this run from `checkpoint`, typed where this one was; of several, how all go on."""
    kept: list[str] = []
    if HydraConfig.initialized():
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return "the same command with resume=latest"
        own = [source.path for source in HydraConfig.get().runtime.config_sources if source.provider == "command-line"]
        given = (override for override in HydraConfig.get().overrides.task if not override.startswith("resume="))
        kept = [*(f"--config-dir={folder}" for folder in own), *given]
    return shlex.join(["python", "-m", "dmp_lightning.train", *kept, f"resume={checkpoint}"])


def _set_environment(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


register_resolvers()  # on import, which a job of a cluster does before it reads its config
install()
