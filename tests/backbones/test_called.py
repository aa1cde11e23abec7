"""A base calls its model with the very arguments that the pipeline of that model makes."""

import inspect
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

from dmp_lightning.backbones import Adapter, arguments, family_of
from dmp_lightning.condition import Condition
from tests.backbones.test_pipelines import PIPELINES
from tests.backbones.tiny import TINY, build

NAMES = {
    "class_labels": "label",
    "encoder_hidden_states": "text",
    "encoder_attention_mask": "mask",
    "encoder_hidden_states_mask": "mask",
    "pooled_projections": "pooled",
}


def recorded(model: nn.Module) -> list[dict[str, Any]]:
    """A list that grows by the arguments of each call of the model."""
    calls: list[dict[str, Any]] = []
    names = list(inspect.signature(type(model).forward).parameters)[1:]

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(dict(zip(names, args, strict=False)) | kwargs)

    model.register_forward_pre_hook(record, with_kwargs=True)
    return calls


def flat(call: dict[str, Any]) -> dict[str, Any]:
    """The arguments, those in groups and tuples one by one."""
    found: dict[str, Any] = {}
    for key, value in call.items():
        if isinstance(value, tuple):
            value = dict(enumerate(value))
        found |= {f"{key}.{name}": each for name, each in value.items()} if isinstance(value, dict) else {key: value}
    return found


def samples_of(call: dict[str, Any], pipeline: Any, sizes: tuple[int, int], scale: int) -> Tensor:
    """The samples of a call as (B, C, H, W), packed tokens unpacked by the pipeline's own function."""
    x = call["sample"] if "sample" in call else call["hidden_states"]
    if x.ndim == 3:
        return pipeline._unpack_latents(x, *sizes, scale).reshape(len(x), x.shape[2] // 4, *(s // scale for s in sizes))
    if "CogVideoX" in type(pipeline).__name__:
        x = x.transpose(1, 2)
    return x.flatten(1, 2) if x.ndim == 5 else x


@pytest.mark.parametrize("name", [name for name in PIPELINES if hasattr(diffusers, name)])
def test_a_base_is_called_as_by_its_pipeline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model_name, parts, call, role, options = PIPELINES[name]
    model = build(model_name, **options)
    pipeline = getattr(diffusers, name)(**{role: model}, **parts())
    pipeline.set_progress_bar_config(disable=True)
    scale = getattr(pipeline, "vae_scale_factor", None) or getattr(pipeline, "vae_scale_factor_spatial", 8)
    side = 1 if role == "unet" or name == "SanaPipeline" else 2
    monkeypatch.setattr(arguments, "PIXELS", scale)  # that of the tiny VAE
    sizes = tuple(scale * side * tokens for tokens in TINY[model_name].grid)
    calls = recorded(model)
    size = {} if name == "DiTPipeline" else dict(zip(("height", "width"), sizes, strict=True))
    last = "np" if name == "DiTPipeline" else "latent"
    pipeline(**call(), **size, num_inference_steps=2, output_type=last)
    theirs = calls[-1]
    t = pipeline.scheduler.timesteps[-1]
    adapter = Adapter(model, family_of(model))
    x = samples_of(theirs, pipeline, sizes, scale)
    given = {ours: theirs[key] for key, ours in NAMES.items() if isinstance(theirs.get(key), Tensor)}
    if "pooled" in adapter.needs and "pooled" not in given:
        given["pooled"] = theirs["added_cond_kwargs"]["text_embeds"]
    if "mask" in given:
        given["mask"] = given["mask"].bool()
    elif "mask" in adapter.needs:
        given["mask"] = torch.ones(given["text"].shape[:2], dtype=torch.bool)  # which the pipeline leaves out
    flow = adapter.predicts == "velocity"
    output = adapter(x, (t / 1000 if flow else t).expand(len(x)), Condition(**given))
    ours = calls[-1]
    for key, value in flat(theirs).items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(*torch.broadcast_tensors(flat(ours)[key], value), check_dtype=False)
        elif value is not None and key != "return_dict":
            assert flat(ours)[key] == value, key
    answer = model(**theirs | {"return_dict": False})[0]
    if answer.shape == output.shape:
        sign = -1 if name == "Lumina2Pipeline" else 1
        torch.testing.assert_close(output, sign * answer)
    else:
        assert output.numel() == answer.numel()
