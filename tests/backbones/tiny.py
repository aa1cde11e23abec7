"""Tiny random models of each family of diffusers, and calls of them, for pictures of any size."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffusers
import pytest
import torch
from torch import Tensor, nn

Call = dict[str, Any]


class Tiny(NamedTuple):
    """The options of a tiny model, and its call for a batch of pictures of rows x columns tokens."""

    options: dict[str, Any]
    call: Callable[[int, int, int, torch.Generator], Call]
    grid: tuple[int, int] = (4, 4)
    """Tokens of a picture of the size that the options name."""


def others_slow(*quick: str) -> list[Any]:
    """All families as parameters of a test, those that are not `quick` in the slow tests alone."""
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in TINY]


def text(batch: int, source: torch.Generator, width: int, length: int = 5) -> Tensor:
    return torch.randn(batch, length, width, generator=source)


def latents(batch: int, rows: int, columns: int, source: torch.Generator, patch: int = 2, channels: int = 4) -> Tensor:
    return torch.randn(batch, channels, rows * patch, columns * patch, generator=source)


def times(batch: int, last: float = 1000.0) -> Tensor:
    return last * (torch.arange(batch) + 1) / (batch + 1)


def dit(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    labels = torch.arange(batch) % 3
    return {"hidden_states": latents(batch, rows, columns, source), "timestep": times(batch), "class_labels": labels}


def pixart(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    return {
        "hidden_states": latents(batch, rows, columns, source),
        "encoder_hidden_states": text(batch, source, 12),
        "timestep": times(batch),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


def sd3(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    return {
        "hidden_states": latents(batch, rows, columns, source),
        "encoder_hidden_states": text(batch, source, 12),
        "pooled_projections": torch.randn(batch, 10, generator=source),
        "timestep": times(batch),
    }


def flux(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return {
        "hidden_states": torch.randn(batch, rows * columns, 4, generator=source),
        "encoder_hidden_states": text(batch, source, 12),
        "pooled_projections": torch.randn(batch, 10, generator=source),
        "timestep": times(batch, 1.0),
        "img_ids": torch.cat([torch.zeros(len(place), 1), place], 1),
        "txt_ids": torch.zeros(5, 3),
    }


def sana(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    return {
        "hidden_states": latents(batch, rows, columns, source, patch=1),
        "encoder_hidden_states": text(batch, source, 12),
        "timestep": times(batch),
    }


def lumina(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    lengths = 2 + torch.arange(batch) % 3  # offsets that differ by sample
    return {
        "hidden_states": latents(batch, rows, columns, source),
        "timestep": times(batch, 1.0),
        "encoder_hidden_states": text(batch, source, 12),
        "encoder_attention_mask": (torch.arange(5) < lengths[:, None]).long(),
    }


def hunyuan(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    return {
        "hidden_states": latents(batch, rows, columns, source),
        "timestep": times(batch),
        "encoder_hidden_states": text(batch, source, 12),
        "text_embedding_mask": torch.ones(batch, 5),
        "encoder_hidden_states_t5": text(batch, source, 16, 7),
        "text_embedding_mask_t5": torch.ones(batch, 7),
        "image_meta_size": torch.randn(batch, 6, generator=source),
        "style": torch.zeros(batch, dtype=torch.long),
        "image_rotary_emb": (torch.ones(rows * columns, 8), torch.zeros(rows * columns, 8)),
    }


def auraflow(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    return {
        "hidden_states": latents(batch, rows, columns, source),
        "encoder_hidden_states": text(batch, source, 12),
        "timestep": times(batch, 1.0),
    }


def qwen(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    return {
        "hidden_states": torch.randn(batch, rows * columns, 16, generator=source),
        "encoder_hidden_states": text(batch, source, 12),
        "encoder_hidden_states_mask": torch.ones(batch, 5, dtype=torch.long),
        "timestep": times(batch, 1.0),
        "img_shapes": [[(1, rows, columns)]] * batch,
    }


def wan(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    return {
        "hidden_states": torch.randn(batch, 4, 3, 2 * rows, 2 * columns, generator=source),
        "timestep": times(batch),
        "encoder_hidden_states": text(batch, source, 12),
    }


def cogvideox(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    return {
        "hidden_states": torch.randn(batch, 3, 4, 2 * rows, 2 * columns, generator=source),
        "encoder_hidden_states": text(batch, source, 12),
        "timestep": times(batch),
    }


def unet(batch: int, rows: int, columns: int, source: torch.Generator) -> Call:
    return {
        "sample": latents(batch, rows, columns, source, patch=1),
        "timestep": times(batch),
        "encoder_hidden_states": text(batch, source, 12),
    }


HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
LATENTS = {"sample_size": 8, "patch_size": 2, "in_channels": 4}
TINY = {
    "DiTTransformer2DModel": Tiny(
        HEADS | LATENTS | {"num_layers": 3, "num_embeds_ada_norm": 1000, "out_channels": 8}, dit
    ),
    "PixArtTransformer2DModel": Tiny(
        HEADS | LATENTS | {"num_layers": 3, "cross_attention_dim": 16, "caption_channels": 12}, pixart
    ),
    "SD3Transformer2DModel": Tiny(
        HEADS
        | LATENTS
        | {
            "num_layers": 3,
            "joint_attention_dim": 12,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 10,
            "out_channels": 4,
            "pos_embed_max_size": 16,
            "dual_attention_layers": (0,),
            "qk_norm": "rms_norm",
        },
        sd3,
    ),
    "FluxTransformer2DModel": Tiny(
        HEADS
        | {
            "in_channels": 4,
            "num_layers": 2,
            "num_single_layers": 2,
            "joint_attention_dim": 12,
            "pooled_projection_dim": 10,
            "axes_dims_rope": (2, 2, 4),
        },
        flux,
    ),
    "SanaTransformer2DModel": Tiny(
        HEADS
        | {
            "sample_size": 4,
            "patch_size": 1,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 3,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 8,
            "cross_attention_dim": 16,
            "caption_channels": 12,
        },
        sana,
    ),
    "Lumina2Transformer2DModel": Tiny(
        LATENTS
        | {
            "hidden_size": 16,
            "num_layers": 2,
            "num_refiner_layers": 1,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "multiple_of": 16,
            "axes_dim_rope": (4, 2, 2),
            "axes_lens": (64, 64, 64),
            "cap_feat_dim": 12,
        },
        lumina,
    ),
    "HunyuanDiT2DModel": Tiny(
        HEADS
        | LATENTS
        | {
            "num_layers": 4,
            "hidden_size": 16,
            "mlp_ratio": 2.0,
            "cross_attention_dim": 12,
            "cross_attention_dim_t5": 16,
            "pooled_projection_dim": 8,
            "text_len": 5,
            "text_len_t5": 7,
            "norm_type": "layer_norm",
        },
        hunyuan,
    ),
    "AuraFlowTransformer2DModel": Tiny(
        HEADS
        | LATENTS
        | {
            "num_mmdit_layers": 2,
            "num_single_dit_layers": 2,
            "joint_attention_dim": 12,
            "caption_projection_dim": 16,
            "out_channels": 4,
            "pos_embed_max_size": 64,
        },
        auraflow,
    ),
    "QwenImageTransformer2DModel": Tiny(
        HEADS
        | {
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 4,
            "num_layers": 3,
            "joint_attention_dim": 12,
            "axes_dims_rope": (2, 2, 4),
        },
        qwen,
    ),
    "WanTransformer3DModel": Tiny(
        {
            "patch_size": (1, 2, 2),
            "num_attention_heads": 2,
            "attention_head_dim": 12,
            "in_channels": 4,
            "out_channels": 4,
            "text_dim": 12,
            "freq_dim": 32,
            "ffn_dim": 32,
            "num_layers": 3,
            "cross_attn_norm": True,
            "qk_norm": "rms_norm_across_heads",
            "rope_max_seq_len": 32,
        },
        wan,
    ),
    "CogVideoXTransformer3DModel": Tiny(
        HEADS
        | {
            "attention_head_dim": 16,
            "in_channels": 4,
            "out_channels": 4,
            "time_embed_dim": 12,
            "text_embed_dim": 12,
            "num_layers": 3,
            "sample_width": 8,
            "sample_height": 8,
            "sample_frames": 9,
            "patch_size": 2,
            "temporal_compression_ratio": 4,
            "max_text_seq_length": 5,
            "use_rotary_positional_embeddings": True,
        },
        cogvideox,
    ),
    "UNet2DConditionModel": Tiny(
        {
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": 12,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
        },
        unet,
        (8, 8),
    ),
}


def build(name: str, **options: Any) -> nn.Module:
    """The tiny model of a class, in eval mode, the same each time, with no parameter that is zero throughout."""
    torch.manual_seed(0)
    model = getattr(diffusers, name)(**TINY[name].options | options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model


def call_of(name: str, batch: int = 3, grid: tuple[int, int] | None = None, seed: int = 1) -> Call:
    """The arguments of a call of it."""
    tiny = TINY[name]
    return tiny.call(batch, *(grid or tiny.grid), torch.Generator().manual_seed(seed))


def answer(model: nn.Module, call: Call) -> Tensor:
    """What the model answers to a call."""
    return model(**call, return_dict=False)[0]
