"""How models of diffusers are called: one row a family, as the pipeline of that model calls it.

Samples are (B, C, H, W), or (B, C, F, H, W) for videos; times are those of the model, see `families.Process`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from dmp_lightning.backbones.arguments import (
    Inputs,
    frames_first,
    of_cogvideox,
    of_dit,
    of_flux,
    of_hunyuan,
    of_pixart,
    of_qwen,
    of_sd3,
    of_unet,
    same,
    unpacked,
    with_mask,
    with_text,
)
from dmp_lightning.user_error import UserError

Shapes = Mapping[str, list[int]]
"""The shape of one sample's part of each tensor of a condition, by name; of a label the number of classes."""

LENGTH = 8  # tokens of a synthetic text, where the model takes any number


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
    output: Callable[[Tensor, Tensor], Tensor] = same


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


def _needs_of_hunyuan(config: Any) -> Shapes:
    first, second = config.text_len, config.text_len_t5
    return {
        "text": [first, config.cross_attention_dim],
        "mask": [first],
        "text2": [second, config.cross_attention_dim_t5],
        "mask2": [second],
    }


def _needs_of_cogvideox(config: Any) -> Shapes:
    return {"text": [config.max_text_seq_length, config.text_embed_dim]}


def _size_of_cogvideox(config: Any) -> tuple[int, ...]:
    frames = (config.sample_frames - 1) // config.temporal_compression_ratio + 1
    return frames, config.sample_height, config.sample_width


def _needs_of_unet(config: Any) -> Shapes:
    found = {"text": [LENGTH, config.cross_attention_dim]}
    if config.addition_embed_type == "text_time":
        sizes = 6 * config.addition_time_embed_dim
        found["pooled"] = [config.projection_class_embeddings_input_dim - sizes]
    return found


POOLED = _text("joint_attention_dim", pooled="pooled_projection_dim")
CALLS: dict[str, Call] = {
    "DiTTransformer2DModel": Call(lambda config: {"label": [config.num_embeds_ada_norm]}, of_dit, _side, _in),
    "PixArtTransformer2DModel": Call(_text("caption_channels", mask=True), of_pixart, _side, _in),
    "SD3Transformer2DModel": Call(POOLED, of_sd3, _side, _in),
    "FluxTransformer2DModel": Call(
        POOLED, of_flux, lambda _: (128, 128), lambda config: config.in_channels // 4, unpacked
    ),
    "SanaTransformer2DModel": Call(_text("caption_channels", mask=True), with_mask, _side, _in),
    "Lumina2Transformer2DModel": Call(_text("cap_feat_dim", mask=True), with_mask, _side, _in),
    "HunyuanDiT2DModel": Call(_needs_of_hunyuan, of_hunyuan, _side, _in),
    "AuraFlowTransformer2DModel": Call(_text("joint_attention_dim"), with_text, _side, _in),
    "QwenImageTransformer2DModel": Call(
        _text("joint_attention_dim", mask=True),
        of_qwen,
        lambda _: (128, 128),
        lambda config: config.in_channels // 4,
        unpacked,
    ),
    "WanTransformer3DModel": Call(_text("text_dim"), with_text, lambda _: (21, 60, 104), _in),
    "CogVideoXTransformer3DModel": Call(_needs_of_cogvideox, of_cogvideox, _size_of_cogvideox, _in, frames_first),
    "UNet2DConditionModel": Call(_needs_of_unet, of_unet, _side, _in),
}


def sample_shape(
    call: Call, config: Any, size: Sequence[int] | None = None, frames: int | None = None
) -> tuple[int, int, int]:
    """The shape of a sample, see `called.Called`, of latents of that size, or of that of its pipeline by default.

    Raises:
        UserError: the model has no frames; its patches do not divide the size; or it takes pictures besides the noise.
    """
    *usual_frames, rows, columns = call.usual(config)
    rows, columns = (rows, columns) if size is None else size
    if frames is not None and not usual_frames:
        raise UserError(f"backbone.model.frames={frames}: this model has no frames, set it to null.")
    channels = call.channels(config)
    if (getattr(config, "out_channels", None) or channels) < channels:
        raise UserError(
            "This model takes pictures besides the noise, as for inpainting or from an image: not supported."
        )
    patch = patch_side(call, config)
    if rows % patch or columns % patch:
        raise UserError(
            f"backbone.model.latent_size={[rows, columns]}: choose multiples of {patch}, the side of a patch."
        )
    return channels * (frames or (usual_frames or [1])[0]), rows, columns


def patch_side(call: Call, config: Any) -> int:
    """Rows, and columns, of the latents that make one token."""
    patch = getattr(config, "patch_size", 1)
    patch = patch[-1] if isinstance(patch, list | tuple) else patch
    return 2 * patch if call.channels(config) != config.in_channels and patch == 1 else patch  # packed
