"""`patch.loss`, and a gate that sees the noise level, on models of diffusers: against the model's own call."""

import math
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, DDPMScheduler
from torch import Tensor
from torch.testing import assert_close

import dmp_lightning as dmp
from dmp_lightning.prompts.gates import noise_level_embedding
from tests.backbones.tiny import answer, build, call_of
from tests.test_python import moved

LINEAR = DDPMScheduler(1000, 0.0001, 0.02, "linear")
SCALED = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear")


def source() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def texts(rows: int, seed: int = 0) -> dmp.Condition:
    drawn = torch.Generator().manual_seed(seed)
    return dmp.Condition(text=torch.randn(rows, 5, 12, generator=drawn), pooled=torch.randn(rows, 10, generator=drawn))


@pytest.mark.parametrize("dropped", [False, True])
def test_the_loss_on_sd3_is_that_of_its_own_call(dropped: bool) -> None:
    """The velocity of the path from data to noise; a dropped text is the null one."""
    model = build("SD3Transformer2DModel")
    patch = moved(dmp.attach(model, "constant", process=dmp.Flow("logit_normal", mean=0.4, std=0.8)))
    patch.method.backbone.null = texts(1, seed=1)
    patch.method.backbone.class_dropout_prob = float(dropped)
    x, text = torch.randn(4, 4, 8, 8), texts(1, seed=1).repeat(4) if dropped else texts(4)
    loss = patch.loss(x, texts(4), source())
    drawn = source()
    t = torch.sigmoid(0.4 + 0.8 * math.sqrt(2) * torch.erfinv(2 * torch.rand(4, generator=drawn) - 1))
    noise = torch.randn(4, 4, 8, 8, generator=drawn)
    x_t = torch.lerp(x, noise, t[:, None, None, None])
    call = {"encoder_hidden_states": text.text, "pooled_projections": text.pooled, "timestep": 1000 * t}
    velocity = answer(model, {"hidden_states": x_t, **call})
    errors = (velocity - (noise - x)).square().mean((1, 2, 3))
    assert_close(loss.samples, errors)
    assert_close(loss.total, errors.mean() + sum(patch.auxiliary_losses().values()))
    loss.total.backward()
    assert all(each.grad.any() for each in patch.parameters_by_group()["prompts"])
    assert all(each.grad is None for each in model.parameters() if not each.requires_grad)


def test_the_loss_on_a_unet_is_that_of_its_own_call() -> None:
    """The noise, of Stable Diffusion's schedule; no condition is dropped where the null one is not known."""
    model = build("UNet2DConditionModel")
    patch = moved(dmp.attach(model, "constant", grid=4))
    patch.method.backbone.class_dropout_prob = 1.0
    x, condition = torch.randn(4, 4, 8, 8), dmp.Condition(text=texts(4).text)
    loss = patch.loss(x, condition, source())
    drawn = source()
    t = torch.randint(1000, (4,), generator=drawn)
    noise = torch.randn(4, 4, 8, 8, generator=drawn)
    call = {"timestep": t, "encoder_hidden_states": condition.text}
    predicted = answer(model, {"sample": SCALED.add_noise(x, noise, t), **call})
    assert_close(loss.parts["objective"], (predicted - noise).square().mean(), rtol=1e-4, atol=1e-5)


def test_another_condition_than_the_model_s_is_told() -> None:
    patch = dmp.attach(build("SD3Transformer2DModel"))
    with pytest.raises(dmp.UserError, match=r"takes conditions of text .*, pooled \[10\], the data have label"):
        patch.loss(torch.randn(1, 4, 8, 8), dmp.Condition(torch.zeros(1).long()))


def of_schedule(scheduler: DDPMScheduler) -> Tensor:
    kept = scheduler.alphas_cumprod.double()
    return (kept / (1 - kept)).log()


LEVELS = {
    "PixArtTransformer2DModel": lambda t: of_schedule(LINEAR)[t.long()],
    "UNet2DConditionModel": lambda t: of_schedule(SCALED)[t.long()],
    "HunyuanDiT2DModel": lambda t: of_schedule(SCALED)[t.long()],
    "SD3Transformer2DModel": lambda t: 2 * ((1000 - t) / t).log(),
    "FluxTransformer2DModel": lambda t: 2 * ((1 - t) / t).log(),
    "Lumina2Transformer2DModel": lambda t: 2 * (t / (1 - t)).log(),
}
"""The log SNR of the time that a model's call takes."""


@pytest.mark.parametrize("name", LEVELS)
def test_a_gate_sees_the_noise_level_of_the_call(name: str) -> None:
    model, call = build(name), call_of(name)
    patch = moved(dmp.attach(model, condition="log_snr", grid=4))
    seen: list[Tensor] = []
    patch.method.mixture.gate.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    answer(model, call)
    level = LEVELS[name](call["timestep"].double()).float()
    expected = noise_level_embedding(level, patch.method.backbone.embedding_width)
    assert_close(seen[0], expected, atol=2e-3, rtol=0)


def test_between_timesteps_the_noise_level_is_between_theirs() -> None:
    process = dmp.DDPM(dmp.linear_betas())
    below, above = process.log_snr(torch.tensor([500, 501]))
    assert_close(process.log_snr(torch.tensor([500.0, 500.25])), torch.stack([below, below + (above - below) / 4]))


def test_a_patch_that_sees_the_noise_level_is_loaded_with_its_process(tmp_path: Path) -> None:
    process = dmp.DDPM(dmp.scaled_linear_betas(snr_shift=3.0, zero_terminal=True), predicts="v")
    theirs = CogVideoXDDIMScheduler(rescale_betas_zero_snr=True, snr_shift_scale=3.0)
    patch = moved(dmp.attach(build("CogVideoXTransformer3DModel"), condition="log_snr", grid=2, process=process))
    patch.save(tmp_path / "x.safetensors")
    loaded = dmp.load(build("CogVideoXTransformer3DModel"), tmp_path / "x.safetensors")
    t = torch.tensor([100, 900])
    kept = theirs.alphas_cumprod.double()[t]
    assert_close(loaded.method.process.log_snr(t), (kept / (1 - kept)).log().float(), rtol=1e-4, atol=1e-4)
    call = call_of("CogVideoXTransformer3DModel")
    with torch.no_grad():
        assert_close(answer(loaded.base, call), answer(patch.base, call))
