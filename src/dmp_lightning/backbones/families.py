"""Models of diffusers that can be patched: one row a family.

diffusers itself is not imported: a model is recognised by the name of its class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from dmp_lightning.backbones import layouts
from dmp_lightning.backbones.layouts import Arguments, Grid, Place, Sites
from dmp_lightning.user_error import UserError


class Process(NamedTuple):
    """The prediction that a model is trained for (`epsilon`, `v` or `velocity`), and the times that its call takes.

    The times go from 0 to `last`, from clean to noise, or from noise to clean where they are `reversed`. With
    `learned_variance` the output has a second half. `sign` is -1 where a flow points from noise to data.
    """

    predicts: str
    last: float = 1000.0
    reversed: bool = False
    learned_variance: bool = False
    sign: int = 1


@dataclass(frozen=True)
class Family:
    """How the models of one class are patched. `docs/add_backbone.md` shows one for a class that is not in the table.

    Args:
        sites: the lists of blocks that take the picture's tokens, in running order; or a function that finds them.
        embedding: the name of the module that embeds the timestep; of several, the first that the model has.
        embed: computes the embedding (B, E) before the blocks, where that module is called too late, or by each block.
        place: where the tokens of a call are. usual: rows and columns of the tokens of a picture of the size that the
            model was trained at, None where the model does not say. width: D at a list of blocks.
        process: what the model predicts.
    """

    sites: tuple[Sites, ...] | Callable[[Any], tuple[Sites, ...]]
    embedding: str | tuple[str, ...]
    place: Callable[[Any, Arguments], Place]
    process: Process
    usual: Callable[[Any], Grid | None] = layouts.nowhere
    width: Callable[[Any, Sites], int] = layouts.heads
    embed: Callable[[Any, Arguments], Float[Tensor, "B E"]] | None = None


BLOCKS = (Sites("transformer_blocks"),)
FLOW, UNIT_FLOW = Process("velocity"), Process("velocity", last=1.0)
DDPM = Process("epsilon", learned_variance=True)
TIME_AND_TEXT = "time_text_embed.timestep_embedder"

FAMILIES: dict[str, Family] = {
    "DiTTransformer2DModel": Family(
        BLOCKS,
        "transformer_blocks.0.norm1.emb.timestep_embedder",
        layouts.latents,
        DDPM,
        layouts.usual,
        embed=layouts.dit_embedding,
    ),
    "PixArtTransformer2DModel": Family(
        BLOCKS, "adaln_single.emb.timestep_embedder", layouts.latents, DDPM, layouts.usual
    ),
    "SD3Transformer2DModel": Family(BLOCKS, TIME_AND_TEXT, layouts.latents, FLOW, layouts.usual),
    "FluxTransformer2DModel": Family(
        (*BLOCKS, Sites("single_transformer_blocks")), TIME_AND_TEXT, layouts.flux_place, UNIT_FLOW
    ),
    "SanaTransformer2DModel": Family(
        BLOCKS,
        ("time_embed.emb.timestep_embedder", "time_embed.timestep_embedder"),
        layouts.latents,
        FLOW,
        layouts.usual,
    ),
    "Lumina2Transformer2DModel": Family(
        (Sites("noise_refiner"), Sites("layers", layouts.behind_the_text)),
        "time_caption_embed.timestep_embedder",
        layouts.latents,
        Process("velocity", last=1.0, reversed=True, sign=-1),
        layouts.usual,
        layouts.hidden_size,
    ),
    "HunyuanDiT2DModel": Family(
        (Sites("blocks"),),
        "time_extra_emb.timestep_embedder",
        layouts.latents,
        Process("v", learned_variance=True),
        layouts.usual,
    ),
    "AuraFlowTransformer2DModel": Family(
        (Sites("joint_transformer_blocks"), Sites("single_transformer_blocks")),
        "time_step_proj",
        layouts.latents,
        UNIT_FLOW,
        layouts.usual,
    ),
    "QwenImageTransformer2DModel": Family(
        (Sites("transformer_blocks", "first"),), TIME_AND_TEXT, layouts.qwen_place, UNIT_FLOW
    ),
    "WanTransformer3DModel": Family((Sites("blocks"),), "condition_embedder.time_embedder", layouts.wan_place, FLOW),
    "CogVideoXTransformer3DModel": Family(
        BLOCKS, "time_embedding", layouts.cogvideox_place, Process("v"), layouts.cogvideox_usual
    ),
    "UNet2DConditionModel": Family(
        layouts.unet_sites,
        "time_embedding",
        layouts.unet_place,
        Process("epsilon"),
        layouts.unet_usual,
        layouts.unet_width,
    ),
}


def family_of(model: nn.Module) -> Family:
    """The row of a model's class, or of the nearest class that it derives from.

    Raises:
        UserError: there is none.
    """
    for kind in type(model).__mro__:
        if kind.__name__ in FAMILIES:
            return FAMILIES[kind.__name__]
    raise UserError(
        f"{type(model).__name__} is not among the models that can be patched ({', '.join(FAMILIES)}): give "
        "family=dmp.Family(...), see docs/add_backbone.md."
    )
