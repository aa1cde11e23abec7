"""Models of diffusers that can be patched: one row a family, from reading their forward passes.

diffusers itself is not imported: a model is recognised by the name of its class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from dmp_lightning.user_error import UserError

Grid = tuple[int, int]
"""(rows, columns)."""
Place = tuple[int, int, int] | Tensor
"""Where the tokens of a pass are, see `prompts.Place`: (frames, rows, columns), or the row and column of each."""
Arguments = Mapping[str, Any]
"""The arguments of a model's call, by name."""


class Sites(NamedTuple):
    """One list of blocks, which run one after the other.

    `path` is its name in the model. `image` says where the picture's tokens are, if there are others beside them:
    `first`, `last`, or a function that finds the number (B,) of the first. The list sees the picture after `halvings`
    of its sides.
    """

    path: str
    image: str | Callable[[Arguments], Tensor] = "last"
    halvings: int = 0


class Process(NamedTuple):
    """What a model is trained to predict (`epsilon`, `v` or `flow`), and the times that its call takes.

    The times go from 0 to `last`, from clean to noise, or from noise to clean where they are `reversed`. With
    `learned_variance` the output has a second half. `sign` is -1 where a flow points from noise to data.
    """

    predicts: str
    last: float = 1000.0
    reversed: bool = False
    learned_variance: bool = False
    sign: int = 1


def _nowhere(_: nn.Module) -> None:
    """No usual size: the model takes pictures of any."""


def _heads(model: Any, _: Sites) -> int:
    return model.config.num_attention_heads * model.config.attention_head_dim


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
    usual: Callable[[Any], Grid | None] = _nowhere
    width: Callable[[Any, Sites], int] = _heads
    embed: Callable[[Any, Arguments], Float[Tensor, "B E"]] | None = None


def _latents(model: Any, arguments: Arguments) -> Place:
    rows, columns = arguments["hidden_states"].shape[-2:]
    return 1, rows // model.config.patch_size, columns // model.config.patch_size


def _usual(model: Any) -> Grid:
    side = model.config.sample_size // model.config.patch_size
    return side, side


def _unet_sites(model: Any) -> tuple[Sites, ...]:
    """Those of the way down, the middle and the way up; the model defines its middle last."""
    last = len(model.down_blocks) - 1
    parts = [(f"down_blocks.{n}", block, n) for n, block in enumerate(model.down_blocks)]
    parts += [("mid_block", model.mid_block, last)]
    parts += [(f"up_blocks.{n}", block, last - n) for n, block in enumerate(model.up_blocks)]
    return tuple(
        Sites(f"{name}.attentions.{number}.transformer_blocks", halvings=halvings)
        for name, block, halvings in parts
        for number, attention in enumerate(getattr(block, "attentions", ()))
        if hasattr(attention, "transformer_blocks")
    )


def _unet_place(_: nn.Module, arguments: Arguments) -> Place:
    rows, columns = arguments["sample"].shape[-2:]
    return 1, rows, columns


def _unet_width(model: Any, sites: Sites) -> int:
    return model.config.block_out_channels[sites.halvings]


def _unet_usual(model: Any) -> Grid:
    side = model.config.sample_size
    return (side, side) if isinstance(side, int) else tuple(side)


def _dit_embedding(model: Any, arguments: Arguments) -> Float[Tensor, "B E"]:
    """That of the first block: each has the embedder, with the same weights."""
    if model.training:
        raise UserError("DiTTransformer2DModel drops labels in each block by itself in training mode: call eval().")
    embedder = model.transformer_blocks[0].norm1.emb
    waves = embedder.time_proj(arguments["timestep"])
    return embedder.timestep_embedder(waves.to(arguments["hidden_states"].dtype))


def _flux_place(_: nn.Module, arguments: Arguments) -> Tensor:
    """Row and column of each packed token; those of reference pictures (Kontext) have another first number than 0."""
    ids = arguments["img_ids"]
    ids = ids[0] if ids.ndim == 3 else ids
    return ids[:, 1:].long().masked_fill(ids[:, :1] != 0, -1)


def _qwen_place(_: nn.Module, arguments: Arguments) -> Place:
    """Reference pictures stand behind the first."""
    picture = arguments["img_shapes"][0]
    frames, rows, columns = picture if isinstance(picture[0], int) else picture[0]
    return frames, rows, columns


def _wan_place(model: Any, arguments: Arguments) -> Place:
    sizes = arguments["hidden_states"].shape[2:]
    frames, rows, columns = (size // side for size, side in zip(sizes, model.config.patch_size, strict=True))
    return frames, rows, columns


def _cogvideox_place(model: Any, arguments: Arguments) -> Place:
    frames, _, rows, columns = arguments["hidden_states"].shape[1:]
    side = model.config.patch_size
    return -(-frames // (getattr(model.config, "patch_size_t", None) or 1)), rows // side, columns // side


def _cogvideox_usual(model: Any) -> Grid:
    side = model.config.patch_size
    return model.config.sample_height // side, model.config.sample_width // side


def _hidden_size(model: Any, _: Sites) -> int:
    return model.config.hidden_size


def _behind_the_text(arguments: Arguments) -> Tensor:
    return arguments["encoder_attention_mask"].sum(1).long()


BLOCKS = (Sites("transformer_blocks"),)
FLOW, UNIT_FLOW = Process("flow"), Process("flow", last=1.0)
DDPM = Process("epsilon", learned_variance=True)
TIME_AND_TEXT = "time_text_embed.timestep_embedder"

FAMILIES: dict[str, Family] = {
    "DiTTransformer2DModel": Family(
        BLOCKS,
        "transformer_blocks.0.norm1.emb.timestep_embedder",
        _latents,
        DDPM,
        _usual,
        embed=_dit_embedding,
    ),
    "PixArtTransformer2DModel": Family(BLOCKS, "adaln_single.emb.timestep_embedder", _latents, DDPM, _usual),
    "SD3Transformer2DModel": Family(BLOCKS, TIME_AND_TEXT, _latents, FLOW, _usual),
    "FluxTransformer2DModel": Family(
        (*BLOCKS, Sites("single_transformer_blocks")), TIME_AND_TEXT, _flux_place, UNIT_FLOW
    ),
    "SanaTransformer2DModel": Family(
        BLOCKS, ("time_embed.emb.timestep_embedder", "time_embed.timestep_embedder"), _latents, FLOW, _usual
    ),
    "Lumina2Transformer2DModel": Family(
        (Sites("noise_refiner"), Sites("layers", _behind_the_text)),
        "time_caption_embed.timestep_embedder",
        _latents,
        Process("flow", last=1.0, reversed=True, sign=-1),
        _usual,
        _hidden_size,
    ),
    "HunyuanDiT2DModel": Family(
        (Sites("blocks"),),
        "time_extra_emb.timestep_embedder",
        _latents,
        Process("v", learned_variance=True),
        _usual,
    ),
    "AuraFlowTransformer2DModel": Family(
        (Sites("joint_transformer_blocks"), Sites("single_transformer_blocks")),
        "time_step_proj",
        _latents,
        UNIT_FLOW,
        _usual,
    ),
    "QwenImageTransformer2DModel": Family(
        (Sites("transformer_blocks", "first"),), TIME_AND_TEXT, _qwen_place, UNIT_FLOW
    ),
    "WanTransformer3DModel": Family((Sites("blocks"),), "condition_embedder.time_embedder", _wan_place, FLOW),
    "CogVideoXTransformer3DModel": Family(BLOCKS, "time_embedding", _cogvideox_place, Process("v"), _cogvideox_usual),
    "UNet2DConditionModel": Family(
        _unet_sites,
        "time_embedding",
        _unet_place,
        Process("epsilon"),
        _unet_usual,
        _unet_width,
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
