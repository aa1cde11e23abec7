"""The interpolations of our configs: where a run works, and numbers that follow from others."""

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from dmp_lightning.folders import component
from dmp_lightning.runs.folder import AUTO, TIME, check_folder, checkpoint_to_resume, latest_run
from dmp_lightning.user_error import MissingFileError, UserError

PACKAGE = Path(__file__).parents[1]


def register_resolvers() -> None:
    """`${asset:NAME}`: a file of this package; and where to work: `${run_dir:NAME,RESUME}`,
    `${sweep_dir:NAME,RESUME,SWEEP,BELOW}` and, in the latter, `${job_dir:NUMBER,OVERRIDES,AXES,SWEEP}`.
    `${component:NAME}`: a name that is to be one part of a path. `${checked:KIND}`: false, where the folder
    of a job is free.
    `${prompts:COUNT,INPUT_SIZE,PATCH_SIZE}`: how many those are.
    `${in_weights:SIZE,FILE,PART,CLASS_DROPOUT}` and `${null_label:FILE,PART}`: see `backbones.sizes`.
    `${in_diffusers:KEY,PATH,SIZE,FRAMES,OTHERWISE}` and `${in_scheduler:KEY,OTHERWISE,PATH,SIZE,FRAMES}`: see
    `backbones.from_diffusers`.
    `${variable:NAME,DEFAULT}`: an environment variable, or the default where it is empty or not set.
    """
    OmegaConf.register_new_resolver("asset", lambda name: str(PACKAGE / "assets" / name), replace=True)
    OmegaConf.register_new_resolver("run_dir", run_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", sweep_dir, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("checked", checked, replace=True)
    OmegaConf.register_new_resolver("component", lambda name: component(name, "name"), replace=True)
    OmegaConf.register_new_resolver("job_dir", _late("commands.sweeps", "job_dir"), replace=True)
    OmegaConf.register_new_resolver("prompts", prompts, replace=True)
    OmegaConf.register_new_resolver("in_weights", _late("backbones.sizes", "in_weights"), replace=True)
    OmegaConf.register_new_resolver("null_label", _late("backbones.sizes", "null_label"), replace=True)
    OmegaConf.register_new_resolver("in_diffusers", in_diffusers, replace=True)
    OmegaConf.register_new_resolver("in_scheduler", _late("backbones.from_diffusers", "in_scheduler"), replace=True)
    OmegaConf.register_new_resolver("variable", lambda name, default: os.environ.get(name) or default, replace=True)


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
        raise UserError(f"resume={resume} names a single run: resume a sweep with resume=latest.")
    found = max(runs.glob("multirun-*"), default=None)
    if found is None:
        raise MissingFileError(f"{runs} has no sweep to resume: start without resume.")
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
        check_folder(Path(job.runtime.output_dir), job.job.name, kind, option)
    return False


def prompts(
    count: int | float | None, input_size: int | Sequence[int] | None, patch_size: int | None
) -> int | float | None:
    """The number of prompts that `method.prompt_count` asks for; as it is where the backbone does not say its sizes."""
    if input_size is None or patch_size is None:
        return count
    from dmp_lightning.prompts.placement import counted  # which imports torch

    rows, columns = (input_size, input_size) if isinstance(input_size, int) else input_size
    tokens = (rows // patch_size) * (columns // patch_size)
    return tokens if count is None else counted(count, tokens)


def in_diffusers(*arguments: Any) -> Any:
    """The shapes that data need for a model of diffusers, see `backbones.from_diffusers`, as a part of the config."""
    found = _late("backbones.from_diffusers", "in_diffusers")(*arguments)
    return None if found is None else OmegaConf.create(found)


def _late(module: str, name: str) -> Callable[..., Any]:
    """A function whose module is imported when it is called first, as that takes a while."""
    return lambda *arguments: getattr(import_module(f"dmp_lightning.{module}"), name)(*arguments)


def _now() -> str:
    """The time of the start: one for all processes of a run, that of the first to ask.

    Raises:
        UserError: these processes cannot agree on it.
    """
    now = f"{datetime.now():{TIME}}"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        from torch.distributed import TCPStore  # torchrun's own

        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        return store.compare_set("dmp_lightning/start", "", now).decode()
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        raise UserError("Several SLURM tasks make one run: set its folder with hydra.run.dir=runs/NAME/FOLDER.")
    return now
