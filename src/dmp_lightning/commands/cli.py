"""What the entry points share: finding the config, running under Hydra, and telling errors in one sentence."""

import os
import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dmp_lightning.commands.checks.acting import check_acting, keys_of
from dmp_lightning.commands.checks.quoting import in_order, readable
from dmp_lightning.commands.checks.values import check_values
from dmp_lightning.commands.completion import complete
from dmp_lightning.commands.errors import MISTAKES, check_order, check_top_level, explanation
from dmp_lightning.commands.resuming import keep_settings
from dmp_lightning.commands.run_settings import arguments_of_run, with_run
from dmp_lightning.commands.sweeps import job_dir, run_job
from dmp_lightning.commands.trust.config_files import check_written, typed_keys
from dmp_lightning.commands.trust.config_loader import CONFIG_DIR, install
from dmp_lightning.commands.trust.trusted import check_targets
from dmp_lightning.folders import component
from dmp_lightning.runs.folder import AUTO, TIME, check_folder, checkpoint_to_resume, latest_run

PACKAGE = Path(__file__).parents[1]
FULL_ERROR = "HYDRA_FULL_ERROR"
SWEEPER = "hydra_plugins.dmp_lightning_sweepers.GridSweeper"  # which knows what `run_job` returns


def register_resolvers() -> None:
    """`${asset:NAME}`: a file of this package; and where to work: `${run_dir:NAME,RESUME}`,
    `${sweep_dir:NAME,RESUME,SWEEP,BELOW}` and, in the latter, `${job_dir:NUMBER,OVERRIDES,AXES,SWEEP}`.
    `${component:NAME}`: a name that is to be one part of a path. `${checked:KIND}`: false, where the folder
    of a job is free.
    `${share:WHOLE,PARTS}`: an integer, at least 1. `${prompts:COUNT,INPUT_SIZE,PATCH_SIZE}`: how many those are.
    `${in_weights:SIZE,FILE,PART,CLASS_DROPOUT}` and `${null_label:FILE,PART}`: see `backbones.sizes`.
    `${variable:NAME,DEFAULT}`: an environment variable, or the default where it is empty or not set.
    """
    OmegaConf.register_new_resolver("asset", lambda name: str(PACKAGE / "assets" / name), replace=True)
    OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", sweep_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("checked", checked, replace=True)
    OmegaConf.register_new_resolver("component", lambda name: component(name, "name"), replace=True)
    OmegaConf.register_new_resolver("job_dir", job_dir, replace=True)
    OmegaConf.register_new_resolver("prompts", prompts, replace=True)
    OmegaConf.register_new_resolver("in_weights", _in_weights, replace=True)
    OmegaConf.register_new_resolver("null_label", _null_label, replace=True)
    OmegaConf.register_new_resolver("variable", lambda name, default: os.environ.get(name) or default, replace=True)
    OmegaConf.register_new_resolver("share", lambda whole, parts: max(whole // parts, 1), replace=True)


def run_dir(name: str, resume: str | None) -> str:
    """A new folder `runs/NAME/TIME`, or the one of the checkpoint to resume."""
    runs = Path("runs", component(name, "name"))
    if resume in (None, AUTO):
        return str(runs / _now())
    if resume == "latest":
        return str(latest_run(runs))
    checkpoint = checkpoint_to_resume(runs, resume)
    assert checkpoint is not None
    return str(checkpoint.parent.parent)


def sweep_dir(name: str, resume: str | None, sweep: str | None = None, below: str = ".") -> str:
    """`runs/NAME/sweep-SWEEP`, where a sweep goes on by itself; without a name of its own a new folder
    `runs/NAME/multirun-TIME` for its jobs, or the last one to resume. All of it is `below` a folder.
    """
    runs = Path(below, "runs", component(name, "name"))
    if sweep is not None:
        return str(runs / f"sweep-{component(sweep, 'sweep.name')}")
    if resume in (None, AUTO):
        return str(runs / f"multirun-{_now()}")
    if resume != "latest":
        raise ValueError(f"resume={resume} is one run's: a sweep goes on with resume=latest.")
    found = max(runs.glob("multirun-*"), default=None)
    if found is None:
        raise FileNotFoundError(f"{runs} has no sweep to resume: start without resume.")
    return str(found)


def checked(kind: str) -> bool:
    """False, which is Hydra's `chdir`, once the folder of this job, of that kind, is known to be free.

    Hydra asks when it knows the folder, and has written nothing into it. Of several processes the first one looks.

    Raises:
        TakenError: the folder holds files that are not ours.
    """
    first = not any(int(os.environ.get(key, 0)) for key in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))
    if first and HydraConfig.initialized():  # it is not where a config is only shown
        job = HydraConfig.get()
        option = "hydra.sweep.dir" if job.mode == RunMode.MULTIRUN else None
        folder = Path(job.runtime.output_dir)
        check_folder(folder, job.job.name, kind, option)
        keep_settings(folder)
    return False


def prompts(count: int | str | None, input_size: int | None, patch_size: int | None) -> int | str | None:
    """The number of prompts that `method.prompt_count` asks for; as it is where the backbone does not say its sizes."""
    if input_size is None or patch_size is None:
        return count
    from dmp_lightning.prompts.placement import counted  # which imports torch

    tokens = (input_size // patch_size) ** 2
    return tokens if count is None else counted(count, tokens)


def _in_weights(*arguments: Any) -> int | None:
    from dmp_lightning.backbones.sizes import in_weights  # which imports torch

    return in_weights(*arguments)


def _null_label(*arguments: Any) -> float | None:
    from dmp_lightning.backbones.sizes import null_label

    return null_label(*arguments)


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
                return run_job(task, config, Path(hydra_config.runtime.output_dir), stack=wanted == "1")
            return task(config)
        except MISTAKES as error:
            if wanted == "1" or hydra_config.mode == RunMode.MULTIRUN:
                raise  # the other jobs of a sweep go on
            sys.exit(f"error: {explanation(error)}")
        finally:
            os.environ[FULL_ERROR] = "1"

    os.environ[FULL_ERROR] = "1"  # Hydra hands errors on instead of printing them itself
    try:
        if os.environ.get("COMP_LINE") and {"-sc", "--shell-completion"} & set(sys.argv):
            complete(job)
            return
        sys.argv[1:] = readable(arguments_of_run(in_order(sys.argv[1:])), config_name, Path(CONFIG_DIR))
        job()
    except MISTAKES as error:
        if wanted == "1":
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


def _now() -> str:
    """The time of the start: one for all processes of a run, that of the first to ask.

    Raises:
        ValueError: these processes cannot agree on it.
    """
    now = f"{datetime.now():{TIME}}"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        from torch.distributed import TCPStore  # torchrun's own

        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        return store.compare_set("dmp_lightning/start", "", now).decode()
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        raise ValueError("Several SLURM tasks make one run: say where, with hydra.run.dir=runs/NAME/FOLDER.")
    return now


def _set_environment(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


register_resolvers()  # on import, which a job of a cluster does before it reads its config
install()
