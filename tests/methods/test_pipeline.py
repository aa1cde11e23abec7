"""Diffusers' own pipeline with a patched model gives the samples of our sampler, from the same noise."""

from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler

from dmp_lightning.backbones import DiT
from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.ddpm import DDPM
from dmp_lightning.diffusion.guidance import guide
from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.diffusion.schedule import linear_betas
from dmp_lightning.draws import Stream, generators, normal
from dmp_lightning.methods import Frozen, Method, load_patch, save_patch
from dmp_lightning.methods.patches import fingerprint
from dmp_lightning.methods.pipelines import to_pipeline
from tests.methods.test_contract import CASES, base, trained

STEPS, LABELS = 4, [3, 0]
STRENGTH = 30.0  # for three steps of training to be seen


def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    model = AutoencoderKL(block_out_channels=(8,), norm_num_groups=2, latent_channels=4, scaling_factor=0.5)
    return model.eval().requires_grad_(False)


def method(tmp_path: Path, name: str) -> Method:
    save_patch(trained(CASES[name].build(base())).exported(), tmp_path / "patch.safetensors", fingerprint(base()), {})
    return load_patch(CASES[name].build(base()), tmp_path / "patch.safetensors", strength=STRENGTH)


@pytest.mark.parametrize("name", ["dmp", "prompt_tuning"])
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, partial(DDIMScheduler, clip_sample=False)])
def test_the_pipeline_samples_as_we_do(tmp_path: Path, name: str, guidance_scale: float, kind) -> None:
    patched, decoder = method(tmp_path, name).eval(), vae()
    sampler, process = Sampler(kind, STEPS), DDPM(linear_betas())
    sources = generators(0, Stream.GENERATION, range(2))
    model = guide(
        lambda x, t, condition: patched(x, t, condition).output, patched.backbone.null_condition(), process,
        guidance_scale=guidance_scale, channels="all",
    )  # fmt: skip
    condition = Condition(torch.tensor(LABELS))
    latents = sampler.sample(lambda x, t: model(x, t, condition), process, normal(sources, (4, 8, 8)), sources)
    ours = (decoder.decode(latents / 0.5).sample / 2 + 0.5).clamp(0, 1)

    pipeline = to_pipeline(patched, sampler.prepare(process), decoder)
    pipeline.set_progress_bar_config(disable=True)
    for saved in (pipeline, pipeline.transformer):
        for save in (saved.save_pretrained, saved.push_to_hub):
            with pytest.raises(ValueError, match=r"cannot be saved: .* Ship the patch file"):
                save(str(tmp_path / "saved"))
    assert not (tmp_path / "saved").exists()
    again = generators(0, Stream.GENERATION, range(2))
    theirs = pipeline(LABELS, guidance_scale, again, STEPS, output_type="pt").images
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    unpatched = to_pipeline(CASES["frozen"].build(base()), sampler.prepare(process), decoder)
    unpatched.set_progress_bar_config(disable=True)
    again = generators(0, Stream.GENERATION, range(2))
    difference = unpatched(LABELS, guidance_scale, again, STEPS, output_type="pt").images - theirs
    assert difference.abs().max() > 0.01, "the patch does nothing here, so this test shows nothing"


def test_guidance_without_a_null_label_is_refused(tmp_path: Path) -> None:
    patched = method(tmp_path, "dmp")
    patched.backbone.null_label = None
    pipeline = to_pipeline(patched, Sampler(DPMSolverMultistepScheduler, STEPS).prepare(DDPM(linear_betas())), vae())
    with pytest.raises(ValueError, match="needs a null label, which this model lacks"):
        pipeline(LABELS, 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (4, 8)}, "draws squares, but this base 4x8"),
        ({"predicts": "sit"}, "needs epsilon and variance, but this base predicts velocity"),
    ],
)
def test_a_base_that_the_pipeline_cannot_draw_is_refused(changes: dict, message: str) -> None:
    sizes = {"input_size": 8, "in_channels": 4, "patch_size": 2, "width": 8, "depth": 1, "heads": 1} | changes
    wide = DiT(**sizes, num_classes=1, class_dropout_prob=0.0)
    with pytest.raises(ValueError, match=message):
        to_pipeline(Frozen(wide), DDIMScheduler(), vae())
