"""Models that look like a DiT and are none: by their names, their shapes, and how they were trained."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dmp_lightning.backbones.base import Backbone
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

FLOW = "it is trained by flow matching and predicts a velocity, but training here needs epsilon"
OTHER = "its blocks are not a DiT's"
FAMILIES = {  # by the names of weights, the first that fits
    r"^projectors\.": ("a SiT trained with REPA", FLOW),
    r"\.mlp\.w12\.|^feat_rope|\.feat_rope": ("a LightningDiT", FLOW),
    r"^decoder_blocks\.|^mask_token$": ("a MaskDiT", OTHER),
    r"^(en_inblocks|en_outblocks|de_blocks|sideblocks)\.": ("an MDT", OTHER),
    r"^(in_blocks|out_blocks|mid_block)\.": ("a U-ViT", OTHER),
    r"^(input_blocks|down_blocks)\.": ("a U-Net", OTHER),
    r"\.cross_attn\.|^y_embedder\.y_proj|^caption_projection\.": ("a PixArt", OTHER),
    r"^joint_blocks\.|^context_embedder\.": ("an MMDiT", OTHER),
    r"\.(experts|moe)\.": ("a DiT-MoE", OTHER),
    r"\.(q_norm|k_norm)\.": ("a DiT with normalised attention", OTHER),
}
FLOW_ARGUMENT = "path_type"  # of SiT's and REPA's training, kept in their checkpoints
FLOW_NAME = re.compile(r"(?<![a-z])(sit|repa|lightningdit)(?![a-z])", re.IGNORECASE)
ANYWAY = "If it does predict epsilon, set backbone.predicts=epsilon."


LAST_STEP, PROBES = 999, 2  # where a trained model predicts nearly its input, and on how much noise that is tried
SURE, WRONG = 0.5, -0.3  # correlations: ours have 0.9999, a small SiT has -0.8


def refuse_others(path: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any], predicts: str | None) -> None:
    """Refuse weights that are not a DiT's, before they are fitted into one.

    Args:
        path: of the file, whose name is a hint. tensors: the weights by name. content: of the file, where a checkpoint
            keeps how it was trained. predicts: `epsilon` where the user knows better than the hints.

    Raises:
        UserError: they are another model's; the sentence says which, and why it cannot be used.
    """
    for pattern, (family, reason) in FAMILIES.items():
        named = next((name for name in tensors if re.search(pattern, name)), None)
        if named is not None:
            raise UserError(f"{path} is {family} (it has the weight {named}): {reason}. This is not supported.")
    linear, patches = tensors.get("final_layer.linear.weight"), tensors.get("x_embedder.proj.weight")
    if linear is not None and patches is not None and len(linear) == patches[0].numel():
        raise UserError(
            f"{path} predicts no variance, so it is a SiT or a DiT with learn_sigma=False: neither is supported."
        )
    if predicts == "epsilon":
        return
    if predicts is not None:
        raise UserError(f"backbone.predicts={predicts} is not supported: choose epsilon, or null.")
    hint = _hint(path, content)
    if hint is None and linear is not None and patches is not None and _lacks_variance(linear, patches):
        hint = "the half of final_layer.linear for the variance is zero, as in a SiT"
    if hint is not None:
        raise UserError(f"{path} seems to hold a SiT ({hint}): {FLOW}. {ANYWAY}")


def _hint(path: Path, content: Mapping[str, Any]) -> str | None:
    arguments = content.get("args")
    given = arguments if isinstance(arguments, Mapping) else getattr(arguments, "__dict__", {})
    if FLOW_ARGUMENT in given or str(given.get("model", "")).startswith("SiT"):
        return f"its training had {FLOW_ARGUMENT}={given.get(FLOW_ARGUMENT)!r} and model={given.get('model')!r}"
    named = FLOW_NAME.search(path.name)
    return None if named is None else f"its file is named {path.name}"


def _lacks_variance(linear: Tensor, patches: Tensor) -> bool:
    """Whether the rows for the variance are zero, and those for epsilon are not."""
    channels = patches.shape[1]
    if len(linear) != 2 * patches[0].numel():
        return False
    halves = linear.unflatten(0, (-1, 2, channels))
    return bool((halves[:, 1] == 0).all() and (halves[:, 0] != 0).any())


@torch.no_grad()
def check_prediction(backbone: Backbone, path: str | Path) -> None:
    """Make sure that the model predicts epsilon: of pure noise, at the last timestep, nearly that noise itself.

    A SiT predicts the way from the noise to the data there, nearly its negative. A base that has been trained a little
    is said, and one that is new, whose output is zero, not looked at.

    Raises:
        UserError: it predicts the opposite.
    """
    weights = next(backbone.parameters())
    x = torch.randn(PROBES, *backbone.sample_shape, generator=torch.Generator().manual_seed(0)).to(weights.device)
    t = torch.full((PROBES,), LAST_STEP, device=weights.device)
    condition = backbone.conditions().take([0] * PROBES).to(weights.device)
    predicted = backbone(x.to(weights.dtype), t, condition)[:, : x.shape[1]].float()
    if not predicted.any():
        return
    found = float(functional.cosine_similarity(predicted.flatten(), x.flatten(), dim=0))
    about = f"correlation with pure noise at timestep {LAST_STEP}: {found:.2f}, expected about 1"
    if found < WRONG:
        raise UserError(f"{path} does not predict epsilon ({about}). It may be a SiT, which is not supported.")
    if found < SURE:
        log.warning("%s predicts epsilon poorly (%s): check that it is a trained DiT.", path, about)
