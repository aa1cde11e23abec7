"""What diffusers and torch do with a model, a patched model stands: caches, lower precision, compilation."""

import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import torch
from torchao.quantization import Int8WeightOnlyConfig, quantize_

import dmp_lightning as dmp
from tests.backbones.test_diffusers import HERE, cast, each, gradients, moved, patched, sampled
from tests.backbones.tiny import answer, build, call_of

CONVOLUTIONS = {"SanaTransformer2DModel", "UNet2DConditionModel"}
"""Layerwise casting changes the weights of convolutions before their backward pass: it fails without a patch, too."""
CACHED = [name for name in HERE if hasattr(getattr(diffusers, name), "enable_cache")]
IN_INT8 = [name for name in HERE if name != "HunyuanDiT2DModel"]
"""HunyuanDiT pools its text with torch's attention, which transposes weights: torchao's cannot, patch or not."""
FIRST_BLOCK = pytest.mark.skipif(not hasattr(diffusers, "FirstBlockCacheConfig"), reason="is too old")


@FIRST_BLOCK
@pytest.mark.parametrize("name", CACHED)
def test_a_cache_skips_blocks_with_their_prompts(name: str) -> None:
    """With a threshold that is never reached, the second pass takes all but the first block from the first pass."""
    torch.set_num_threads(1)
    config = diffusers.FirstBlockCacheConfig(threshold=1e9)
    model, patch = patched(name)
    call = call_of(name)
    expected = sampled(model, call)
    try:
        model.enable_cache(config)
    except ValueError:
        pytest.skip("diffusers has no such cache for it")
    with model.cache_context("a test"):
        torch.testing.assert_close(sampled(model, call), expected)
        torch.testing.assert_close(sampled(model, call), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(dmp.UserError, match="blocks have hooks, of a cache or of offloading: put patches on first"):
        dmp.attach(build_with_cache(name, config))
    patch.remove()  # from below the cache
    model.disable_cache()
    base = sampled(build(name), call)
    assert torch.equal(sampled(model, call), base)
    dmp.attach(model)
    assert torch.equal(sampled(model, call), base)


def build_with_cache(name: str, config: object) -> torch.nn.Module:
    model = build(name)
    model.enable_cache(config)
    return model


@each
def test_a_base_in_fp8_takes_a_patch_of_the_base_in_float32(name: str, tmp_path: Path) -> None:
    """By diffusers' layerwise casting, which stores weights in 8 bits and computes in 32."""
    torch.set_num_threads(1)
    path, call = tmp_path / "x.safetensors", call_of(name)
    patched(name)[1].save(path)
    model = build(name)
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    base = sampled(model, call)
    patch = dmp.attach(model)
    assert torch.equal(sampled(model, call), base)
    patch.remove()
    patch = dmp.load(model, path)
    assert not torch.allclose(sampled(model, call), base, rtol=0.01)
    if name not in CONVOLUTIONS:
        assert all(gradient.any() for gradient in gradients(patch, answer(model, call).square().mean()))
    patch.remove()
    assert torch.equal(sampled(model, call), base)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("SD3Transformer2DModel", "UNet2DConditionModel") else pytest.mark.slow)
        for name in IN_INT8
    ],
)
def test_a_base_in_int8_takes_a_patch_of_the_base_in_bfloat16(name: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    path, call = tmp_path / "x.safetensors", cast(call_of(name), torch.bfloat16)
    moved(dmp.attach(build(name).to(torch.bfloat16))).save(path)
    model = build(name).to(torch.bfloat16)
    quantize_(model, Int8WeightOnlyConfig())
    base = sampled(model, call)
    patch = dmp.load(model, path)
    assert not torch.allclose(sampled(model, call), base, rtol=0.01)
    assert all(gradient.any() for gradient in gradients(patch, answer(model, call).float().square().mean()))
    patch.strength = 0
    assert torch.equal(sampled(model, call), base)


def test_a_base_with_nothing_to_compare_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = "SD3Transformer2DModel"
    path = tmp_path / "x.safetensors"
    moved(dmp.attach(build(name).to(torch.float16))).save(path)
    dmp.load(build(name).to(torch.bfloat16), path)
    assert "the base's weights cannot be compared" in caplog.text


COMPILED = """
import sys
import torch
import dmp_lightning as dmp
from torch._dynamo.utils import counters
from tests.backbones.test_diffusers import moved
from tests.backbones.tiny import answer, build, call_of

torch.set_num_threads(1)
name, way = sys.argv[1:]
call = call_of(name)
expected = build(name)
moved(dmp.attach(expected, grid=2))
with torch.no_grad():
    expected = answer(expected, call)
model = build(name)
compiled = model
if way == "whole":
    compiled = torch.compile(model, backend="eager", fullgraph=True)
else:
    for block in model.transformer_blocks:
        block.compile(backend="eager", fullgraph=True)


def graphs():
    return counters["stats"]["unique_graphs"]


with torch.no_grad():
    base = answer(compiled, call)
    first = graphs()
    patch = moved(dmp.attach(compiled, grid=2))
    torch.testing.assert_close(answer(compiled, call), expected, rtol=1e-4, atol=1e-5)
    second = graphs()
    # Blocks of one kind share a graph, as the base's do. Of the whole model one is that of the hooks before it.
    assert second - first <= (first if way == "blocks" else 2), (first, second)
    for prompts in patch.parameters_by_group()["prompts"]:
        prompts.mul_(0.5)
    changed = answer(compiled, call)
    assert not torch.allclose(changed, expected)
    assert graphs() == second
    patch.remove()
    torch.testing.assert_close(answer(compiled, call), base)
    again = moved(dmp.attach(model, grid=2), 4)
    assert not torch.allclose(answer(compiled, call), base)
print("fine")
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["whole", "blocks"])
@pytest.mark.parametrize(
    "name", ["DiTTransformer2DModel", "PixArtTransformer2DModel", "SD3Transformer2DModel", "FluxTransformer2DModel"]
)
def test_compiled_there_is_no_graph_for_each_block_and_a_changed_prompt_makes_none(name: str, way: str) -> None:
    """Patches may come and go. In a process of its own: the checks of types under pytest are no code to compile."""
    command = [sys.executable, "-W", "ignore", "-c", COMPILED, name, way]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr[-3000:]
