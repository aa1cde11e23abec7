"""Models that look like a DiT and are none: by their names, their shapes, and how they were trained."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dmp_lightning.backbones.base import Backbone
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

OTHER = "its blocks are not a DiT's"
FAMILIES = {  # by the names of weights, the first that fits
    r"\.mlp\.w12\.|^feat_rope|\.feat_rope": ("a LightningDiT", OTHER),
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
PROJECTORS = "projectors."
"""How those weights of REPA's training begin that sampling does not use."""
STATED = ("epsilon", "v", "velocity", "sit")
"""What a user may say that weights predict."""
LINEAR, PATCHES = "final_layer.linear.weight", "x_embedder.proj.weight"

LAST, PROBES = {"velocity": 1.0}, 2  # time, else timestep 999, of pure noise, and on how much noise that is tried
SURE, WRONG = 0.5, -0.3  # correlations: ours have 0.9999, a small SiT taken for a DiT has -0.8


def refuse_others(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not a DiT's, before they are fitted into one.

    Raises:
        UserError: they are another model's; the sentence says which, and why it cannot be used.
    """
    for pattern, (family, reason) in FAMILIES.items():
        named = next((name for name in tensors if re.search(pattern, name)), None)
        if named is not None:
            raise UserError(f"{path} is {family} (it has the weight {named}): {reason}. This is not supported.")


class Recognised(NamedTuple):
    """What weights tell of their training: what they predict, as `DiT` takes it, and how one knows.

    `single`: they give as many channels as they take.
    """

    predicts: str | None
    hint: str
    single: bool

    def stated(self, path: str | Path, predicts: str | None) -> str:
        """What a DiT of these weights predicts: as the user says, or else as the weights do.

        Raises:
            UserError: nobody says it, or the user says something unknown.
        """
        if predicts not in (None, *STATED):
            raise UserError(f"backbone.predicts={predicts} is unknown: choose {', '.join(STATED)} or null.")
        found = predicts or self.predicts
        if found is None and self.single:
            raise UserError(f"{path} does not tell what it predicts: set backbone.predicts to one of {STATED[:3]}.")
        return "epsilon_and_variance" if found in (None, "epsilon") and not self.single else str(found)


def recognise(path: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> Recognised:
    """What the weights in a file predict, by their names and shapes, and by how they were trained.

    Args:
        path: of the file, whose name is a hint. tensors: the weights by name. content: of the file, where a checkpoint
            keeps how it was trained.
    """
    known = LINEAR in tensors and PATCHES in tensors
    single = known and len(tensors[LINEAR]) == tensors[PATCHES][0].numel()
    projector = next((name for name in tensors if name.startswith(PROJECTORS)), None)
    if projector is not None:
        return Recognised("velocity", f"it has REPA's {projector}", single)
    predicts, hint = _hint(path, content)
    if predicts is None and known and _lacks_variance(tensors[LINEAR], tensors[PATCHES]):
        predicts, hint = "sit", "the half of final_layer.linear for the variance is zero, as in a SiT"
    return Recognised(predicts, hint, single)


def check_recognised(path: Path, found: Recognised, backbone: Backbone, predicts: str | None) -> None:
    """Make sure that the backbone predicts what the weights tell, unless the user knows better.

    Raises:
        UserError: it does not.
    """
    ours = getattr(backbone, "trained_for", None)
    if ours is None or (predicts or found.predicts) is None:
        return
    told = found.stated(path, predicts)
    if told != ours:
        how = "backbone.predicts says so" if predicts else found.hint
        raise UserError(
            f"{path} seems to predict {told} ({how}), but the backbone {ours}: set ++backbone.model.predicts={told}, "
            "or backbone=from_file. If the file misleads, set backbone.predicts to what it predicts."
        )


def _hint(path: Path, content: Mapping[str, Any]) -> tuple[str | None, str]:
    """What the training's arguments or the file's name tell, and how."""
    arguments = content.get("args")
    given = arguments if isinstance(arguments, Mapping) else getattr(arguments, "__dict__", {})
    if FLOW_ARGUMENT in given or str(given.get("model", "")).startswith("SiT"):
        told = {name: given[name] for name in (FLOW_ARGUMENT, "enc_type", "model") if name in given}
        hint = f"its training had {', '.join(f'{name}={value!r}' for name, value in told.items())}"
        return "velocity" if "enc_type" in told else "sit", hint
    named = FLOW_NAME.search(path.name)
    if named is None:
        return None, ""
    return "velocity" if named[1].lower() == "repa" else "sit", f"its file is named {path.name}"


def _lacks_variance(linear: Tensor, patches: Tensor) -> bool:
    """Whether the rows for the variance are zero, and those for epsilon are not."""
    channels = patches.shape[1]
    if len(linear) != 2 * patches[0].numel():
        return False
    halves = linear.unflatten(0, (-1, 2, channels))
    return bool((halves[:, 1] == 0).all() and (halves[:, 0] != 0).any())


@torch.no_grad()
def check_prediction(backbone: Backbone, path: str | Path) -> None:
    """Make sure that the model predicts what it says, by what it makes of pure noise at the last time.

    Epsilon is nearly that noise itself there, and so is the velocity, noise minus data; v has hardly any of it. A base
    that has been trained a little is reported, and one that is new, whose output is zero, not looked at. Whether a
    velocity is a SiT's or of the other direction cannot be seen in this way.

    Raises:
        UserError: it predicts the opposite, or the noise where it should not.
    """
    weights = next(backbone.parameters())
    predicts = (backbone.predicts or "epsilon").removesuffix("_and_variance")
    x = torch.randn(PROBES, *backbone.sample_shape, generator=torch.Generator().manual_seed(0)).to(weights.device)
    last = LAST.get(predicts, 999)
    condition = backbone.conditions().take([0] * PROBES).to(weights.device)
    t = torch.full((PROBES,), last, device=weights.device)
    predicted = backbone(x.to(weights.dtype), t, condition)[:, : x.shape[1]].float()
    if not predicted.any():
        return
    found = float(functional.cosine_similarity(predicted.flatten(), x.flatten(), dim=0))
    about = f"correlation with pure noise at time {last}: {found:.2f}, expected about {int(predicts != 'v')}"
    if found < WRONG or (predicts == "v" and found > SURE):
        raise UserError(
            f"{path} does not predict {predicts} ({about}): set backbone.predicts to what it predicts, one of "
            f"{', '.join(STATED)}, with backbone=from_file."
        )
    if found < SURE and predicts != "v":
        log.warning("%s predicts %s poorly (%s): check that it is a trained model of this kind.", path, predicts, about)
