"""How models of diffusers are called: one row a family, as the pipeline of that model calls it.

Samples are (B, C, H, W), or (B, C, F, H, W) for videos; times are those of the model, see `families.Process`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dmp_lightning.condition import Condition

Shapes = Mapping[str, list[int]]
"""The shape of one sample's part of each tensor of a condition, by name; of a label the number of classes."""

LENGTH = 8  # tokens of a synthetic text, where the model takes any number
PIXELS = 8  # side of a latent pixel in a picture


class Inputs(NamedTuple):
    """What a call is made of: the model's `config`, samples, times, conditions, and `guidance` for distilled models."""

    config: Any
    x: Tensor
    t: Tensor
    condition: Condition
    guidance: float

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the latents."""
        return self.x.shape[-2], self.x.shape[-1]

    @property
    def long_masks(self) -> tuple[Tensor | None, Tensor | None]:
        """The masks as whole numbers, as tokenizers give them."""
        return tuple(None if mask is None else mask.long() for mask in (self.condition.mask, self.condition.mask2))  # type: ignore[return-value]

    def for_all(self, numbers: list[float]) -> Tensor:
        """The same numbers for each sample, (B, n), of the samples' type."""
        return torch.tensor(numbers, device=self.x.device).to(self.x.dtype).expand(len(self.x), -1)


def _same(_: Any, answer: Tensor) -> Tensor:
    return answer


class Call(NamedTuple):
    """How one class is called.

    Args:
        needs: what a condition must hold, from the config. arguments: of the model's call. usual: (H, W), or (F, H, W)
            of the latents where a pipeline is told nothing. channels: C. output: the answer as (B, C2, H, W) or
            (B, C2, F, H, W), from the samples and the answer.
    """

    needs: Callable[[Any], Shapes]
    arguments: Callable[[Inputs], dict[str, Any]]
    usual: Callable[[Any], tuple[int, ...]]
    channels: Callable[[Any], int]
    output: Callable[[Tensor, Tensor], Tensor] = _same


def _side(config: Any) -> tuple[int, ...]:
    side = config.sample_size
    return (side, side) if isinstance(side, int) else tuple(side)


def _in(config: Any) -> int:
    return config.in_channels


def _text(name: str, length: int = LENGTH, mask: bool = False, pooled: str | None = None) -> Callable[[Any], Shapes]:
    """Text states whose width is the key `name` of the config."""

    def needs(config: Any) -> Shapes:
        found = {"text": [length, getattr(config, name)]} | ({"mask": [length]} if mask else {})
        return found | ({} if pooled is None else {"pooled": [getattr(config, pooled)]})

    return needs


def _dit(i: Inputs) -> dict[str, Any]:
    return {"hidden_states": i.x, "timestep": i.t, "class_labels": i.condition.label}


def _with_text(i: Inputs) -> dict[str, Any]:
    return {"hidden_states": i.x, "timestep": i.t, "encoder_hidden_states": i.condition.text}


def _with_mask(i: Inputs) -> dict[str, Any]:
    return _with_text(i) | {"encoder_attention_mask": i.long_masks[0]}


def _pixart(i: Inputs) -> dict[str, Any]:
    """The base of 1024 pixels sees the size and the shape of the picture."""
    sizes: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
    if i.config.sample_size == 128:
        rows, columns = i.size
        sizes = {
            "resolution": i.for_all([PIXELS * rows, PIXELS * columns]),
            "aspect_ratio": i.for_all([rows / columns]),
        }
    return _with_mask(i) | {"added_cond_kwargs": sizes}


def _sd3(i: Inputs) -> dict[str, Any]:
    return _with_text(i) | {"pooled_projections": i.condition.pooled}


def packed(x: Tensor) -> Tensor:
    """Squares of 2 x 2 latents as tokens: (B, C, H, W) to (B, H/2 * W/2, 4C)."""
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _unpacked(x: Tensor, answer: Tensor) -> Tensor:
    rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
    squares = answer.unflatten(1, (rows, columns)).unflatten(3, (-1, 2, 2))
    return squares.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def _flux(i: Inputs) -> dict[str, Any]:
    rows, columns = (torch.arange(side // 2, device=i.x.device) for side in i.size)
    place = torch.cartesian_prod(rows, columns).to(i.x.dtype)
    assert i.condition.text is not None
    return _sd3(i) | {
        "hidden_states": packed(i.x),
        "img_ids": torch.cat([torch.zeros_like(place[:, :1]), place], 1),
        "txt_ids": place.new_zeros(i.condition.text.shape[1], 3),
        "guidance": torch.full_like(i.t, i.guidance) if i.config.guidance_embeds else None,
    }


def _qwen(i: Inputs) -> dict[str, Any]:
    shape = (1, i.size[0] // 2, i.size[1] // 2)
    return _with_text(i) | {
        "hidden_states": packed(i.x),
        "encoder_hidden_states_mask": i.long_masks[0],
        "img_shapes": [[shape]] * len(i.x),
    }


def _sana(i: Inputs) -> dict[str, Any]:
    return _with_mask(i) | {"timestep": i.t * getattr(i.config, "timestep_scale", 1.0)}


def _hunyuan(i: Inputs) -> dict[str, Any]:
    from diffusers.models.embeddings import get_2d_rotary_pos_embed

    config, (mask, mask2) = i.config, i.long_masks
    grid = i.size[0] // config.patch_size, i.size[1] // config.patch_size
    base = 512 // PIXELS // config.patch_size
    angles = get_2d_rotary_pos_embed(
        config.attention_head_dim, middle(grid, (base, base)), grid, device=i.x.device, output_type="pt"
    )
    sizes = [1024, 1024, PIXELS * i.size[0], PIXELS * i.size[1], 0, 0]  # of the original, of this one, cut off
    return _with_text(i) | {
        "timestep": i.t.to(i.x.dtype),
        "text_embedding_mask": mask,
        "encoder_hidden_states_t5": i.condition.text2,
        "text_embedding_mask_t5": mask2,
        "image_meta_size": i.for_all(sizes),
        "style": torch.zeros_like(i.t, dtype=torch.long),
        "image_rotary_emb": angles,
    }


def _needs_of_hunyuan(config: Any) -> Shapes:
    first, second = config.text_len, config.text_len_t5
    return {
        "text": [first, config.cross_attention_dim],
        "mask": [first],
        "text2": [second, config.cross_attention_dim_t5],
        "mask2": [second],
    }


def middle(grid: tuple[int, int], base: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last corner, on the `base` grid, of the largest box in its middle that has the shape of `grid`."""
    scale = min(base[0] / grid[0], base[1] / grid[1])
    inner = [round(scale * side) for side in grid]
    top, left = (round((whole - part) / 2) for whole, part in zip(base, inner, strict=True))
    return (top, left), (top + inner[0], left + inner[1])


def _cogvideox(i: Inputs) -> dict[str, Any]:
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    config, side, frames = i.config, i.config.patch_size, i.x.shape[2]
    grid, base = (i.size[0] // side, i.size[1] // side), (config.sample_height // side, config.sample_width // side)
    thick = getattr(config, "patch_size_t", None)
    angles = None
    if config.use_rotary_positional_embeddings:
        how: dict[str, Any] = {"crops_coords": middle(grid, base), "temporal_size": frames}
        if thick is not None:  # since version 1.5
            how = {"crops_coords": None, "temporal_size": -(-frames // thick), "grid_type": "slice", "max_size": base}
        angles = get_3d_rotary_pos_embed(embed_dim=config.attention_head_dim, grid_size=grid, device=i.x.device, **how)
    return _with_text(i) | {"hidden_states": i.x.transpose(1, 2), "image_rotary_emb": angles}


def _frames_first(_: Tensor, answer: Tensor) -> Tensor:
    return answer.transpose(1, 2)


def _needs_of_cogvideox(config: Any) -> Shapes:
    return {"text": [config.max_text_seq_length, config.text_embed_dim]}


def _size_of_cogvideox(config: Any) -> tuple[int, ...]:
    frames = (config.sample_frames - 1) // config.temporal_compression_ratio + 1
    return frames, config.sample_height, config.sample_width


def _unet(i: Inputs) -> dict[str, Any]:
    """SDXL sees the size of the original and of this picture, and what was cut off."""
    call = _with_text(i)
    call["sample"] = call.pop("hidden_states")
    if i.config.addition_embed_type == "text_time":
        size = [float(PIXELS * side) for side in i.size]
        call["added_cond_kwargs"] = {
            "text_embeds": i.condition.pooled,
            "time_ids": i.for_all([*size, 0, 0, *size]),
        }
    return call


def _needs_of_unet(config: Any) -> Shapes:
    found = {"text": [LENGTH, config.cross_attention_dim]}
    if config.addition_embed_type == "text_time":
        sizes = 6 * config.addition_time_embed_dim
        found["pooled"] = [config.projection_class_embeddings_input_dim - sizes]
    return found


POOLED = _text("joint_attention_dim", pooled="pooled_projection_dim")
CALLS: dict[str, Call] = {
    "DiTTransformer2DModel": Call(lambda config: {"label": [config.num_embeds_ada_norm]}, _dit, _side, _in),
    "PixArtTransformer2DModel": Call(_text("caption_channels", mask=True), _pixart, _side, _in),
    "SD3Transformer2DModel": Call(POOLED, _sd3, _side, _in),
    "FluxTransformer2DModel": Call(
        POOLED, _flux, lambda _: (128, 128), lambda config: config.in_channels // 4, _unpacked
    ),
    "SanaTransformer2DModel": Call(_text("caption_channels", mask=True), _sana, _side, _in),
    "Lumina2Transformer2DModel": Call(_text("cap_feat_dim", mask=True), _with_mask, _side, _in),
    "HunyuanDiT2DModel": Call(_needs_of_hunyuan, _hunyuan, _side, _in),
    "AuraFlowTransformer2DModel": Call(_text("joint_attention_dim"), _with_text, _side, _in),
    "QwenImageTransformer2DModel": Call(
        _text("joint_attention_dim", mask=True),
        _qwen,
        lambda _: (128, 128),
        lambda config: config.in_channels // 4,
        _unpacked,
    ),
    "WanTransformer3DModel": Call(_text("text_dim"), _with_text, lambda _: (21, 60, 104), _in),
    "CogVideoXTransformer3DModel": Call(_needs_of_cogvideox, _cogvideox, _size_of_cogvideox, _in, _frames_first),
    "UNet2DConditionModel": Call(_needs_of_unet, _unet, _side, _in),
}
