"""Pipelines of diffusers sample with a patch by their own call: guidance, other sizes and shapes, several steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffusers
import pytest
import torch
from torch import Tensor, nn

import dmp_lightning as dmp
from tests.backbones.tiny import TINY, build


def embedded(width: int, length: int = 5, seed: int = 0) -> Tensor:
    """What a text encoder would give for one text."""
    return torch.randn(1, length, width, generator=torch.Generator().manual_seed(seed))


def texts(width: int, **more: Any) -> dict[str, Any]:
    return {"prompt_embeds": embedded(width), "negative_prompt_embeds": embedded(width, seed=1), **more}


def masked(width: int) -> dict[str, Any]:
    mask = torch.ones(1, 5, dtype=torch.long)
    return texts(width, prompt_attention_mask=mask, negative_prompt_attention_mask=mask)


def pooled(width: int, pooled_width: int) -> dict[str, Any]:
    return texts(
        width,
        pooled_prompt_embeds=embedded(pooled_width)[:, 0],
        negative_pooled_prompt_embeds=embedded(pooled_width, seed=1)[:, 0],
    )


class Pipeline(NamedTuple):
    """A pipeline's class, the class of its model, its parts besides, and the arguments of its call."""

    model: str
    parts: Callable[[], dict[str, Any]]
    call: Callable[[], dict[str, Any]]
    role: str = "transformer"
    options: dict[str, Any] = {}  # noqa: RUF012 (of the model, besides those of `TINY`; nobody changes them)


def flow() -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler()


def small_vae() -> nn.Module:
    return diffusers.AutoencoderKL(
        latent_channels=4,
        block_out_channels=(4, 4),
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )


def none(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


ENCODER = ("text_encoder", "tokenizer")
PIPELINES: dict[str, Pipeline] = {
    "DiTPipeline": Pipeline(
        "DiTTransformer2DModel",
        lambda: {"vae": small_vae(), "scheduler": diffusers.DDIMScheduler()},
        lambda: {"class_labels": [1, 2], "guidance_scale": 2.0},
    ),
    "PixArtSigmaPipeline": Pipeline(
        "PixArtTransformer2DModel",
        lambda: {"vae": small_vae(), "scheduler": diffusers.DPMSolverMultistepScheduler(), **none(*ENCODER)},
        lambda: masked(12) | {"negative_prompt": None, "use_resolution_binning": False, "guidance_scale": 2.0},
    ),
    "StableDiffusion3Pipeline": Pipeline(
        "SD3Transformer2DModel",
        lambda: {
            "vae": small_vae(),
            "scheduler": flow(),
            **none(*ENCODER, "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3"),
        },
        lambda: pooled(12, 10) | {"guidance_scale": 2.0},
    ),
    "FluxPipeline": Pipeline(
        "FluxTransformer2DModel",
        lambda: {"vae": small_vae(), "scheduler": flow(), **none(*ENCODER, "text_encoder_2", "tokenizer_2")},
        lambda: pooled(12, 10) | {"true_cfg_scale": 2.0},
    ),
    "SanaPipeline": Pipeline(
        "SanaTransformer2DModel",
        lambda: {"vae": None, "scheduler": flow(), **none(*ENCODER)},
        lambda: masked(12) | {"negative_prompt": None, "use_resolution_binning": False, "guidance_scale": 2.0},
    ),
    "Lumina2Pipeline": Pipeline(
        "Lumina2Transformer2DModel",
        lambda: {"vae": small_vae(), "scheduler": flow(), **none(*ENCODER)},
        lambda: masked(12) | {"guidance_scale": 2.0},
    ),
    "AuraFlowPipeline": Pipeline(
        "AuraFlowTransformer2DModel",
        lambda: {"vae": small_vae(), "scheduler": flow(), **none(*ENCODER)},
        lambda: masked(12) | {"guidance_scale": 2.0},
    ),
    "QwenImagePipeline": Pipeline(
        "QwenImageTransformer2DModel",
        lambda: {"vae": None, "scheduler": flow(), **none(*ENCODER)},
        lambda: texts(
            12,
            prompt_embeds_mask=torch.ones(1, 5, dtype=torch.long),
            negative_prompt_embeds_mask=torch.ones(1, 5, dtype=torch.long),
            true_cfg_scale=2.0,
        ),
    ),
    "WanPipeline": Pipeline(
        "WanTransformer3DModel",
        lambda: {"vae": None, "scheduler": flow(), **none(*ENCODER)},
        lambda: texts(12, guidance_scale=2.0, num_frames=5),
    ),
    "CogVideoXPipeline": Pipeline(
        "CogVideoXTransformer3DModel",
        lambda: {"vae": None, "scheduler": diffusers.CogVideoXDDIMScheduler(), **none(*ENCODER)},
        lambda: texts(12, guidance_scale=2.0, num_frames=9),
    ),
    "StableDiffusionPipeline": Pipeline(
        "UNet2DConditionModel",
        lambda: {
            "vae": small_vae(),
            "scheduler": diffusers.DDIMScheduler(),
            "requires_safety_checker": False,
            **none(*ENCODER, "safety_checker", "feature_extractor"),
        },
        lambda: texts(12, guidance_scale=2.0),
        "unet",
    ),
    "StableDiffusionXLPipeline": Pipeline(
        "UNet2DConditionModel",
        lambda: {
            "vae": small_vae(),
            "scheduler": diffusers.EulerDiscreteScheduler(),
            "add_watermarker": False,
            **none(*ENCODER, "text_encoder_2", "tokenizer_2"),
        },
        lambda: pooled(12, 10) | {"guidance_scale": 2.0},
        "unet",
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 10 + 6 * 4,
            "transformer_layers_per_block": (1, 2),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        },
    ),
}


@pytest.mark.parametrize("name", [name for name in PIPELINES if hasattr(diffusers, name)])
def test_a_pipeline_samples_with_a_patch(name: str) -> None:
    model_name, parts, call, role, options = PIPELINES[name]
    model = build(model_name, **options)
    pipeline = getattr(diffusers, name)(**{role: model}, **parts())
    pipeline.set_progress_bar_config(disable=True)
    scale = getattr(pipeline, "vae_scale_factor", None) or getattr(pipeline, "vae_scale_factor_spatial", 8)
    tokens = TINY[model_name].grid

    def sample(rows: int = tokens[0], columns: int = tokens[1]) -> Tensor:
        side = 1 if role == "unet" or name == "SanaPipeline" else 2
        size = {} if name == "DiTPipeline" else {"height": scale * side * rows, "width": scale * side * columns}
        source = torch.Generator().manual_seed(0)
        last = "np" if name == "DiTPipeline" else "latent"
        found = pipeline(**call(), **size, num_inference_steps=2, generator=source, output_type=last)
        return torch.as_tensor(found[0])

    base, wide = sample(), sample(*tokens[:1], 2 * tokens[1])
    patch = dmp.attach(model, grid=2)
    assert torch.equal(sample(), base)
    with torch.no_grad():
        for parameters in patch.parameters_by_group().values():
            for parameter in parameters:
                parameter.normal_(std=0.5)
    assert not torch.allclose(sample(), base, rtol=0.01)
    assert not torch.allclose(sample(*tokens[:1], 2 * tokens[1]), wide, rtol=0.01)
    patch.strength = 0
    assert torch.equal(sample(), base)
    patch.strength = 1
    patch.remove()
    assert torch.equal(sample(*tokens[:1], 2 * tokens[1]), wide)
