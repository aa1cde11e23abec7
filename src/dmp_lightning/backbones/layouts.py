"""Where models of diffusers have their blocks and the tokens of a picture, from reading their forward passes."""

from collections.abc import Callable, Mapping
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


def halved(place: Any, times: int) -> Any:
    """The place of the tokens where the sides of the picture were halved so often."""
    if times == 0:
        return place
    frames, rows, columns = place
    return frames, -(-rows // 2**times), -(-columns // 2**times)


def count(place: Place) -> int:
    """T, the tokens at a place."""
    return len(place) if isinstance(place, Tensor) else place[0] * place[1] * place[2]


def nowhere(_: nn.Module) -> None:
    """No usual size: the model takes pictures of any."""


def heads(model: Any, _: Sites) -> int:
    """D, as most configs give it."""
    return model.config.num_attention_heads * model.config.attention_head_dim


def latents(model: Any, arguments: Arguments) -> Place:
    """One token for each patch of the latents (B, C, H, W)."""
    rows, columns = arguments["hidden_states"].shape[-2:]
    return 1, rows // model.config.patch_size, columns // model.config.patch_size


def usual(model: Any) -> Grid:
    """The tokens of latents of the size in the config."""
    side = model.config.sample_size // model.config.patch_size
    return side, side


def unet_sites(model: Any) -> tuple[Sites, ...]:
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


def unet_place(_: nn.Module, arguments: Arguments) -> Place:
    """One token for each of the latents, before they are halved on the way down."""
    rows, columns = arguments["sample"].shape[-2:]
    return 1, rows, columns


def unet_width(model: Any, sites: Sites) -> int:
    """D, which grows on the way down."""
    return model.config.block_out_channels[sites.halvings]


def unet_usual(model: Any) -> Grid:
    """The latents of the size in the config."""
    side = model.config.sample_size
    return (side, side) if isinstance(side, int) else tuple(side)


def dit_embedding(model: Any, arguments: Arguments) -> Float[Tensor, "B E"]:
    """That of the first block: each has the embedder, with the same weights."""
    if model.training:
        raise UserError("DiTTransformer2DModel drops labels in each block by itself in training mode: call eval().")
    embedder = model.transformer_blocks[0].norm1.emb
    waves = embedder.time_proj(arguments["timestep"])
    return embedder.timestep_embedder(waves.to(arguments["hidden_states"].dtype))


def flux_place(_: nn.Module, arguments: Arguments) -> Tensor:
    """Row and column of each packed token; those of reference pictures (Kontext) have another first number than 0."""
    ids = arguments["img_ids"]
    ids = ids[0] if ids.ndim == 3 else ids
    return ids[:, 1:].long().masked_fill(ids[:, :1] != 0, -1)


def qwen_place(_: nn.Module, arguments: Arguments) -> Place:
    """Reference pictures stand behind the first."""
    picture = arguments["img_shapes"][0]
    frames, rows, columns = picture if isinstance(picture[0], int) else picture[0]
    return frames, rows, columns


def wan_place(model: Any, arguments: Arguments) -> Place:
    """One token for each patch of a video (B, C, frames, H, W)."""
    sizes = arguments["hidden_states"].shape[2:]
    frames, rows, columns = (size // side for size, side in zip(sizes, model.config.patch_size, strict=True))
    return frames, rows, columns


def cogvideox_place(model: Any, arguments: Arguments) -> Place:
    """One token for each patch of a video (B, frames, C, H, W)."""
    frames, _, rows, columns = arguments["hidden_states"].shape[1:]
    side = model.config.patch_size
    return -(-frames // (getattr(model.config, "patch_size_t", None) or 1)), rows // side, columns // side


def cogvideox_usual(model: Any) -> Grid:
    """The tokens of a frame of the size in the config."""
    side = model.config.patch_size
    return model.config.sample_height // side, model.config.sample_width // side


def hidden_size(model: Any, _: Sites) -> int:
    """D, where a config gives it so."""
    return model.config.hidden_size


def behind_the_text(arguments: Arguments) -> Tensor:
    """Where the picture begins: behind the words that the mask lets through, which are more or fewer by sample."""
    return arguments["encoder_attention_mask"].sum(1).long()
