"""A base and a diffusion process agree on what the model predicts."""

from dmp_lightning.backbones import Adapter, Backbone
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.flow import Flow
from dmp_lightning.diffusion.process import Process
from dmp_lightning.diffusion.schedule import linear_betas, scaled_linear_betas
from dmp_lightning.user_error import UserError

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
    """Make sure that the process is one of models that predict what the base does, if it says so.

    Raises:
        UserError: it is not.
    """
    ours, theirs = base.predicts, process.predicts
    if ours in (None, theirs) or (ours, theirs) == ("epsilon_and_variance", "epsilon"):
        return
    raise UserError(
        f"The base predicts {ours}, and the diffusion process is one of models that predict {theirs}: choose "
        f"{REMEDIES[str(ours)]}; or, for a new DiT, backbone.model.predicts={theirs}."
    )
