"""A base and a diffusion process agree on what the model predicts."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from jaxtyping import Float
from torch import Tensor

from dmp_lightning.backbones import Adapter, Backbone
from dmp_lightning.backbones.scheduler_file import OF_BETAS
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.flow import Flow
from dmp_lightning.diffusion.process import Process
from dmp_lightning.diffusion.schedule import Schedule, cosine_betas, linear_betas, scaled_linear_betas
from dmp_lightning.user_error import UserError

SCHEDULES: dict[str, Callable[..., Float[Tensor, " steps"]]] = {
    "linear": linear_betas,
    "scaled_linear": scaled_linear_betas,
    "squaredcos_cap_v2": cosine_betas,
}
"""Schedules of betas by their names in diffusers."""
ROUNDED = 1e-3  # of the share of signal that is kept
REMEDIES = {
    "epsilon_and_variance": "diffusion=linear or cosine, in Python process=dmp.DDPM(dmp.linear_betas())",
    "epsilon": 'diffusion=scaled_linear, in Python process=dmp.DDPM(dmp.scaled_linear_betas(), predicts="epsilon")',
    "v": 'diffusion=v, in Python process=dmp.DDPM(dmp.scaled_linear_betas(), predicts="v")',
    "velocity": "diffusion=flow and sampler=flow_euler, in Python process=dmp.Flow()",
}


def usual_process(base: Backbone) -> Process:
    """The process of a base for which none is given."""
    if base.predicts == "velocity":
        return Flow()
    if isinstance(base, Adapter) and base.predicts in ("epsilon", "v"):  # Stable Diffusion's
        return DDPM(scaled_linear_betas(), predicts=base.predicts)
    return DDPM(linear_betas())


def check_agreement(base: Backbone, process: Process) -> None:
    """Make sure that the process is one of models that predict what the base does, if it says so, and adds noise as
    the scheduler of its pipeline does.

    Raises:
        UserError: it is not.
    """
    ours, theirs = base.predicts, process.predicts
    if ours in (None, theirs) or (ours, theirs) == ("epsilon_and_variance", "epsilon"):
        if isinstance(base, Adapter) and isinstance(process, DDPM):
            _check_betas(base.scheduler, process)
        return
    raise UserError(
        f"The base predicts {ours}, and the diffusion process is one of models that predict {theirs}: choose "
        f"{REMEDIES[str(ours)]}; or, for a new DiT, backbone.model.predicts={theirs}."
    )


def _check_betas(scheduler: dict[str, Any], process: DDPM) -> None:
    name = scheduler.get("beta_schedule")
    if name not in SCHEDULES:
        return
    given = {ours: scheduler[key] for ours, key in OF_BETAS.items() if key in scheduler}
    takes = signature(SCHEDULES[name]).parameters
    theirs = Schedule(SCHEDULES[name](**{key: value for key, value in given.items() if key in takes}))
    ours = process.schedule
    if theirs.steps != ours.steps or (theirs.alphas_cumprod - ours.alphas_cumprod).abs().max() > ROUNDED:
        told = ", ".join(f"{key}={scheduler[key]}" for key in ("beta_schedule", *OF_BETAS.values()) if key in scheduler)
        raise UserError(
            f"The base was trained with other noise than that of diffusion: the scheduler of its pipeline has {told}. "
            "Choose another diffusion, or set diffusion.betas."
        )
