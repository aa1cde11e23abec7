"""Our sampler draws the samples of a model's own pipeline: for its noise, texts, guidance scale and number of steps.

The process and the sampler are those of the config, which reads the scheduler's file in the pipeline's folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import pytest
import torch
from torch import Tensor

from dmp_lightning.commands.build import build_backbone
from dmp_lightning.commands.trust.trusted import build as built
from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.guidance import guide
from dmp_lightning.patching.agreement import check_agreement
from tests.backbones.test_pipelines import PIPELINES
from tests.backbones.tiny import TINY, build
from tests.configs import config

STEPS = 6
FLOW = diffusers.FlowMatchEulerDiscreteScheduler
DYNAMIC = {"use_dynamic_shifting": True, "shift": 3.0}
NAMES = {"prompt_embeds": "text", "pooled_prompt_embeds": "pooled"}
MASKS = ("prompt_attention_mask", "prompt_embeds_mask")


class Case(NamedTuple):
    """The published scheduler of a pipeline, our config, and arguments of its call besides those of `PIPELINES`."""

    scheduler: Callable[[], Any]
    ours: list[str]
    call: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)


CASES = {
    "StableDiffusionPipeline": Case(
        lambda: diffusers.PNDMScheduler(
            1000, 0.00085, 0.012, "scaled_linear", skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1
        ),
        ["diffusion=scaled_linear", "sampler=pndm"],
    ),
    "PixArtSigmaPipeline": Case(
        lambda: diffusers.DPMSolverMultistepScheduler(1000, 0.0001, 0.02, "linear"),
        ["diffusion=linear", "sampler=dpm_solver"],
    ),
    "StableDiffusion3Pipeline": Case(
        lambda: FLOW(shift=3.0), ["diffusion=flow", "sampler=flow_euler", "sampler.respaced=false"]
    ),
    "FluxPipeline": Case(lambda: FLOW(**DYNAMIC), ["diffusion=flow", "sampler=flow_euler"]),
    "SanaPipeline": Case(
        lambda: diffusers.DPMSolverMultistepScheduler(
            use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
        ),
        ["diffusion=flow", "sampler=dpm_solver"],
    ),
    "Lumina2Pipeline": Case(
        lambda: FLOW(shift=6.0), ["diffusion=flow", "sampler=flow_euler"], {"cfg_normalization": False}
    ),
    "AuraFlowPipeline": Case(
        lambda: FLOW(shift=1.73), ["diffusion=flow", "sampler=flow_euler", "sampler.respaced=false"]
    ),
    "QwenImagePipeline": Case(
        lambda: FLOW(**DYNAMIC, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02),
        ["diffusion=flow", "sampler=flow_euler", "+sampler.scheduler.shift_terminal=0.02"],
        {"true_cfg_scale": 1.0},
    ),
    "WanPipeline": Case(
        lambda: diffusers.UniPCMultistepScheduler(
            use_flow_sigmas=True, flow_shift=5.0, prediction_type="flow_prediction"
        ),
        ["diffusion=flow", "sampler=unipc", "backbone.model.frames=2"],
    ),
    "CogVideoXPipeline": Case(
        lambda: diffusers.CogVideoXDDIMScheduler(
            rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing"
        ),
        ["diffusion=v", "sampler=trailing"],
    ),
}


def condition_of(call: dict[str, Any], before: str = "") -> Condition:
    """The texts of a pipeline's call, or, with `negative_` before their names, the null one."""
    found = {ours: call[before + theirs] for theirs, ours in NAMES.items() if before + theirs in call}
    return Condition(**found, mask=next((call[before + name].bool() for name in MASKS if before + name in call), None))


def as_theirs(x: Tensor, name: str, pipeline: Any, channels: int) -> Tensor:
    """Samples of ours as the pipeline has its latents."""
    if name in ("FluxPipeline", "QwenImagePipeline"):
        return pipeline._pack_latents(x, *x.shape)
    if name in ("WanPipeline", "CogVideoXPipeline"):
        x = x.unflatten(1, (channels, -1))
    return x.transpose(1, 2) if name == "CogVideoXPipeline" else x


@pytest.mark.parametrize("name", [name for name in CASES if hasattr(diffusers, name)])
def test_samples_are_those_of_the_pipeline(name: str, tmp_path: Path) -> None:
    model_name, parts, call, role, options = PIPELINES[name]
    scheduler, ours, more = CASES[name]
    model = build(model_name, **options)
    pipeline = getattr(diffusers, name)(**{role: model}, **parts() | {"scheduler": scheduler()})
    pipeline.set_progress_bar_config(disable=True)
    model.save_pretrained(tmp_path / role)
    pipeline.scheduler.save_pretrained(tmp_path / "scheduler")
    rows, columns = TINY[model_name].grid
    side = 1 if role == "unet" or name == "SanaPipeline" else 2
    where = [f"backbone.path={tmp_path}", f"backbone.model.latent_size=[{side * rows},{side * columns}]"]
    settings = config("backbone=diffusers", *where, f"sampler.steps={STEPS}", *ours)
    backbone, process = build_backbone(settings), built(settings.diffusion)
    check_agreement(backbone, process)
    noise = torch.randn(1, *backbone.sample_shape, generator=torch.Generator().manual_seed(0))
    texts = call() | more
    scale = max(texts.get("guidance_scale", 1.0), texts.get("true_cfg_scale", 1.0))
    null = None if scale == 1 else condition_of(call(), "negative_")
    if null is not None and null.mask is None and "mask" in backbone.needs:
        null = null._replace(mask=condition_of(call()).mask)
    model_of_ours = guide(backbone, null, process, guidance_scale=scale, channels="all")
    condition = condition_of(call())

    def guided(x: Tensor, t: Tensor) -> Tensor:
        return model_of_ours(x, t, condition)

    found = built(settings.sampler).sample(guided, process, noise, [torch.Generator()])
    channels = backbone.call.channels(model.config)
    factor = getattr(pipeline, "vae_scale_factor", None) or getattr(pipeline, "vae_scale_factor_spatial", 8)
    theirs = pipeline(
        **texts,
        height=factor * side * rows,
        width=factor * side * columns,
        num_inference_steps=STEPS,
        latents=as_theirs(noise, name, pipeline, channels),
        output_type="latent",
    )[0]
    expected = as_theirs(found, name, pipeline, channels)
    assert theirs.std() > 0.1
    torch.testing.assert_close(theirs, expected, rtol=1e-3, atol=1e-3 * theirs.std().item())
