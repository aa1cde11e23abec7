"""What holds for each family of diffusers, on tiny random models: one contract table."""

import pickle
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dmp_lightning as dmp
from dmp_lightning.backbones.families import FAMILIES
from dmp_lightning.methods.patches import read_patch
from tests.backbones.tiny import TINY, Call, answer, build, call_of

HERE = [name for name in TINY if hasattr(diffusers, name)]
"""Those that the installed version of diffusers has."""
each = pytest.mark.parametrize("name", HERE)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Some models differ from themselves in the last bits with two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def moved(patch: dmp.Patch, seed: int = 3) -> dmp.Patch:
    """The patch with random numbers in it, so that it is clearly felt."""
    source = torch.Generator().manual_seed(seed)
    for parameters in patch.parameters_by_group().values():
        for parameter in parameters:
            nn.init.normal_(parameter, std=0.5, generator=source)
    return patch


def patched(name: str, **options: object) -> tuple[nn.Module, dmp.Patch]:
    model = build(name)
    return model, moved(dmp.attach(model, **options))


@torch.no_grad()
def sampled(model: nn.Module, call: Call) -> Tensor:
    return answer(model, call)


def gradients(patch: dmp.Patch, loss: Tensor) -> list[Tensor]:
    groups = patch.parameters_by_group()
    return list(torch.autograd.grad(loss, groups["prompts"] + groups["gate"]))


def cast(call: Call, dtype: torch.dtype) -> Call:
    """The call of a pipeline whose model is of another type."""
    floats = {key: value for key, value in call.items() if isinstance(value, Tensor) and value.is_floating_point()}
    return call | {key: value.to(dtype) for key, value in floats.items()}


def test_the_table_is_tested_whole() -> None:
    assert set(TINY) == set(FAMILIES)
    assert len(HERE) >= 11


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_new_patch_leaves_the_base_as_it_was_to_the_bit(name: str, dtype: torch.dtype) -> None:
    model, call = build(name).to(dtype), cast(call_of(name), dtype)
    expected = sampled(model, call)
    patch = dmp.attach(model)
    found = sampled(model, call)
    assert found.dtype == dtype
    assert torch.equal(found, expected)
    assert torch.equal(answer(model, call), expected)  # with gradients, and noise on the gates
    moved(patch)
    assert not torch.allclose(sampled(model, call), expected, rtol=0.01)


@each
def test_gradients_reach_the_whole_patch_and_nothing_of_the_base(name: str) -> None:
    model, patch = patched(name)
    answer(model, call_of(name)).square().mean().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    for parameters in patch.parameters_by_group().values():
        for parameter in parameters:
            assert parameter.grad is not None
            rows = parameter.grad.abs().flatten(1).sum(1) if parameter.ndim > 1 else parameter.grad.abs()
            assert (rows > 0).all()
    assert set(patch.auxiliary_losses()) == {"importance"}


@each
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    model, _ = patched(name)
    together = call_of(name)
    alone = {
        key: value[1:2] if isinstance(value, Tensor | list) and len(value) == 3 else value
        for key, value in together.items()
    }
    torch.testing.assert_close(sampled(model, alone), sampled(model, together)[1:2], rtol=1e-4, atol=1e-5)


def picture_tokens(name: str, block: str, call: Call, count: int) -> Callable[[int, int], slice]:
    """Which tokens of a block are the picture's, from reading the model."""
    if name == "Lumina2Transformer2DModel" and block.startswith("layers"):
        lengths = call["encoder_attention_mask"].sum(1)
        return lambda sample, _: slice(int(lengths[sample]), int(lengths[sample]) + count)
    return lambda _, tokens: slice(tokens - count, tokens)


@each
@pytest.mark.parametrize("shape", [(4, 4), (4, 8), (8, 4)], ids=str)
def test_the_right_tokens_get_their_prompts_at_any_size(name: str, shape: tuple[int, int]) -> None:
    """Against hooks that are written for this test and interpolate by torch's own function."""
    shape = tuple(2 * side for side in shape) if name == "UNet2DConditionModel" else shape
    if name == "DiTTransformer2DModel" and shape != (4, 4):
        pytest.skip("is square")
    model, call = build(name), call_of(name, grid=shape)
    patch = dmp.attach(model, "constant", grid=2)
    moved(patch)
    found, own = sampled(model, call), build(name)
    frames = 3 if name in ("WanTransformer3DModel", "CogVideoXTransformer3DModel") else 1
    names = {id(module): key for key, module in model.named_modules()}
    for (sites, block), prompts in zip(patch.method.backbone.sites, patch.method.mixture.each(), strict=True):
        key = names[id(block)]
        grid = [side // 2**sites.halvings for side in shape]
        picture = F.interpolate(prompts.T.unflatten(1, (2, 2))[None], grid, mode="bilinear", antialias=True)
        added = picture[0].flatten(1).T.repeat(frames, 1)
        where = picture_tokens(name, key, call, len(added))

        def add(_: nn.Module, args: tuple, kwargs: dict, added: Tensor = added, where: Callable = where) -> tuple:
            tokens = (args[0] if args else kwargs["hidden_states"]).clone()
            for sample in range(len(tokens)):
                tokens[sample, where(sample, tokens.shape[1])] += added
            return ((tokens, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": tokens})

        own.get_submodule(key).register_forward_pre_hook(add, with_kwargs=True)
    torch.testing.assert_close(found, sampled(own, call), rtol=1e-3, atol=1e-4)


@each
def test_the_gate_sees_the_timestep_alone(name: str) -> None:
    model, patch = patched(name)
    call = call_of(name)
    text = [key for key in call if key.startswith(("encoder_hidden", "pooled", "class_labels"))]
    seen: list[Tensor] = []
    weigh = patch.method.mixture.weigh

    def spied(e: Tensor, noise: Tensor | None) -> object:
        seen.append(e)
        return weigh(e, noise)

    patch.method.mixture.weigh = spied
    for changed in (
        call,
        call | {key: call[key].flip(0) for key in text},
        call | {"timestep": call["timestep"].flip(0)},
    ):
        sampled(model, changed)
    same, flipped = seen[1], seen[2]
    assert text
    torch.testing.assert_close(same, seen[0])
    torch.testing.assert_close(flipped.flip(0), seen[0])
    assert not torch.allclose(flipped, seen[0], rtol=0.01)
    assert seen[0].shape == (3, patch.method.backbone.embedding_width)


@each
def test_what_is_saved_is_loaded_into_a_second_copy(name: str, tmp_path: Path) -> None:
    model, patch = patched(name)
    call, path = call_of(name), tmp_path / "x.safetensors"
    patch.save(path, note="a test")
    about = read_patch(path).about
    assert (about["note"], about["base"]["class"]) == ("a test", name)
    second = build(name)
    base = sampled(second, call)
    loaded = dmp.load(second, path)
    assert torch.equal(sampled(second, call), sampled(model, call))
    loaded.save(tmp_path / "again.safetensors", note="a test")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    other = build(name)
    with torch.no_grad():
        max(other.parameters(), key=lambda parameter: parameter.numel()).mul_(1.01)
    with pytest.raises(dmp.UserError, match=r"x\.safetensors was trained on another base \(a \w+ with other weights"):
        dmp.load(other, path)
    assert not hasattr(other, "attached_patches")
    loaded.remove()
    assert torch.equal(sampled(second, call), base)


@each
def test_checkpointing_with_two_passes_before_one_backward_gives_the_gradients_of_none(name: str) -> None:
    model, patch = patched(name)
    calls = [call_of(name, seed=seed) for seed in (1, 2)]
    calls[1]["timestep"] = calls[1]["timestep"].flip(0)

    def taken() -> list[Tensor]:
        torch.manual_seed(0)
        losses = [answer(model, call).square().mean() for call in calls]
        patch.strength = 0  # nothing of today may reach the passes of before
        return_to = gradients(patch, sum(losses))
        patch.strength = 1
        return return_to

    expected = taken()
    if name == "HunyuanDiT2DModel":
        return  # has none
    model.enable_gradient_checkpointing()
    for one, other in zip(expected, taken(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-8)
    patch.remove()
    assert not [module for module in model.modules() if hasattr(module, "dmp_spot")]
    functions = {vars(module).get("_gradient_checkpointing_func") for module in model.modules()} - {None}
    assert {type(function) for function in functions} == {type(taken)}


@each
def test_removed_the_model_is_the_base_hooks_and_all(name: str) -> None:
    model, call = build(name), call_of(name)
    next(model.parameters()).requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    before = {key: dict(vars(module)) for key, module in model.named_modules()}
    expected, names = sampled(model, call), list(model.state_dict())
    first, second = moved(dmp.attach(model)), moved(dmp.attach(model, "constant"), 4)
    assert list(model.state_dict()) == names
    assert not any(parameter.requires_grad for parameter in model.parameters())
    both = sampled(model, call)
    first.remove()
    one = sampled(model, call)
    assert not torch.equal(one, both)
    second.remove()
    assert torch.equal(sampled(model, call), expected)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    after = {key: dict(vars(module)) for key, module in model.named_modules()}
    for key, known in before.items():
        assert after[key].keys() == known.keys()
        assert not any(hooks for kind, hooks in after[key].items() if kind.endswith("_hooks"))


@each
def test_two_patches_add_up_each_with_its_strength(name: str) -> None:
    model, call = build(name), call_of(name)
    base = sampled(model, call)
    first, second = moved(dmp.attach(model)), moved(dmp.attach(model, "constant"), 4)
    first.strength, second.strength = 0.5, 0
    half = sampled(model, call)
    second.remove()
    assert torch.equal(sampled(model, call), half)
    first.strength = 0
    assert torch.equal(sampled(model, call), base)
    with torch.no_grad():
        for prompts in first.parameters_by_group()["prompts"]:
            prompts.mul_(0.5)
    first.strength = 1
    torch.testing.assert_close(sampled(model, call), half)


@each
@pytest.mark.parametrize("copied", [deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"])
def test_a_copy_has_a_patch_of_its_own(name: str, copied: Callable) -> None:
    model, patch = patched(name)
    call = call_of(name)
    answer(model, call)  # its gradients are not copied
    expected = sampled(model, call)
    copy = copied(model)
    patch.strength = 0
    base = sampled(model, call)
    patch.remove()
    assert torch.equal(sampled(copy, call), expected)
    copy.attached_patches[0].strength = 0.5
    assert not torch.equal(sampled(copy, call), expected)
    copy.attached_patches[0].remove()
    assert torch.equal(sampled(copy, call), base)
    assert not [module for module in copy.modules() if hasattr(module, "dmp_spot")]


@each
def test_what_diffusers_saves_is_the_bare_base(name: str, tmp_path: Path) -> None:
    model, call = build(name), call_of(name)
    model.save_pretrained(tmp_path / "base")
    patch = moved(dmp.attach(model))
    model.save_pretrained(tmp_path / "patched")
    for file in (tmp_path / "base").iterdir():
        assert (tmp_path / "patched" / file.name).read_bytes() == file.read_bytes()
    patch.save(tmp_path / "x.safetensors")
    loaded = type(model).from_pretrained(tmp_path / "patched").eval()
    dmp.load(loaded, tmp_path / "x.safetensors")
    assert torch.equal(sampled(loaded, call), sampled(model, call))


@each
def test_it_stacks_with_a_lora(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    call = call_of(name)
    adapter = peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)

    def added(model: nn.Module) -> nn.Module:
        torch.manual_seed(5)
        peft.inject_adapter_in_model(adapter, model)
        return model

    model, patch = patched(name)
    patch.save(tmp_path / "before.safetensors")
    alone = sampled(model, call)
    both = sampled(added(model), call)
    assert not torch.equal(both, alone)
    assert any(parameter.requires_grad for parameter in model.parameters())  # the adapter's, which came after
    patch.save(tmp_path / "after.safetensors")
    assert (tmp_path / "after.safetensors").read_bytes() == (tmp_path / "before.safetensors").read_bytes()
    other = added(build(name))
    lora = sampled(other, call)
    assert not torch.equal(lora, both)
    loaded = dmp.load(other, tmp_path / "after.safetensors")
    torch.testing.assert_close(sampled(other, call), both)
    loaded.remove()
    assert torch.equal(sampled(other, call), lora)


def test_an_unknown_class_and_what_does_not_fit_are_told() -> None:
    name = "SD3Transformer2DModel"
    with pytest.raises(dmp.UserError, match=r"Linear is not among .*\(DiTTransformer2DModel, .*docs/add_backbone\.md"):
        dmp.attach(nn.Linear(2, 2))
    wrong = {
        "position": ("prepend", "this base takes no extra tokens"),
        "grid": (5, "grid=5x5 is finer than the tokens of this base, 4x4"),
        "prompt_count": (4, "takes method.grid, the rows and columns of prompts"),
        "condition": ("timestep_and_label", "on a model of diffusers choose timestep or log_snr"),
        "injection": ("first:4", "this base has 3 blocks"),
    }
    for option, (value, said) in wrong.items():
        model = build(name)
        with pytest.raises(dmp.UserError, match=said):
            dmp.attach(model, **{option: value})
        assert not hasattr(model, "attached_patches")
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert not model._forward_pre_hooks


def test_a_loss_of_ones_own_takes_the_auxiliary_losses_of_the_last_call_with_gradients() -> None:
    model, patch = patched("SD3Transformer2DModel", balance={"importance": 0.5, "load": 1.0})
    call = call_of("SD3Transformer2DModel")
    sampled(model, call)
    with pytest.raises(dmp.UserError, match="no auxiliary losses: call the base, with gradients enabled"):
        patch.auxiliary_losses()
    answer(model, call)
    weights = patch._last.gates.weights.sum(1)
    expected = 0.5 * (weights.var(1, correction=0) / weights.mean(1).square()).mean()
    torch.testing.assert_close(patch.auxiliary_losses()["importance"], expected)


def test_a_patch_follows_its_base_to_another_device() -> None:
    _, patch = patched("SD3Transformer2DModel")
    with torch.no_grad():
        added = patch.additions(torch.zeros(3, device="meta"), torch.zeros(3, 16, device="meta"), [(1, 4, 4)] * 3)
    assert {each.weights.device.type for each in added} == {each.prompts.device.type for each in added} == {"meta"}


def test_a_patch_goes_onto_no_other_class_or_shape(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    patched("SD3Transformer2DModel")[1].save(path)
    with pytest.raises(dmp.UserError, match="is a patch of a SD3Transformer2DModel, not of a SanaTransformer2DModel"):
        dmp.load(build("SanaTransformer2DModel"), path)
    sizes = {"input_size": 4, "in_channels": 1, "patch_size": 1, "width": 8, "depth": 1, "heads": 1, "num_classes": 1}
    own = dmp.DiT(**sizes, class_dropout_prob=0.0)
    with pytest.raises(dmp.UserError, match="SD3Transformer2DModel, not of a DiT of dmp-lightning"):
        dmp.load(own, path)
    larger = diffusers.SD3Transformer2DModel(**TINY["SD3Transformer2DModel"].options | {"num_layers": 4})
    with pytest.raises(dmp.UserError, match="of another config: num_layers is 3 there, 4"):
        dmp.load(larger, path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_patch_goes_onto_its_base_in_another_type(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    model, patch = patched("SD3Transformer2DModel")
    patch.save(path)
    dmp.load(build("SD3Transformer2DModel").to(dtype), path)
    patch.remove()
    lower = dmp.attach(model.to(dtype))
    lower.save(path)
    dmp.load(build("SD3Transformer2DModel"), path)


def test_a_dit_that_would_drop_labels_by_itself_is_refused() -> None:
    model, _ = patched("DiTTransformer2DModel")
    with pytest.raises(dmp.UserError, match=r"drops labels in each block .*call eval\(\)"):
        answer(model.train(), call_of("DiTTransformer2DModel"))
    assert torch.isfinite(sampled(model.eval(), call_of("DiTTransformer2DModel"))).all()


def test_a_timestep_for_each_token_is_refused() -> None:
    model, _ = patched("WanTransformer3DModel")
    call = call_of("WanTransformer3DModel")
    with pytest.raises(dmp.UserError, match="got a timestep for each token"):
        answer(model, call | {"timestep": call["timestep"][:, None].expand(-1, 48)})


def test_the_blocks_of_a_unet_are_counted_as_they_run() -> None:
    model, patch = patched("UNet2DConditionModel", injection="first:3")
    names = {id(module): name for name, module in model.named_modules()}
    ran = []
    for _, block in patch.method.backbone.sites:
        block.register_forward_pre_hook(lambda module, _: ran.append(names[id(module)]))
    sampled(model, call_of("UNet2DConditionModel"))
    assert ran == [names[id(block)] for _, block in patch.method.backbone.sites]
    assert [name.split(".")[0] for name in ran] == ["down_blocks", "down_blocks", "mid_block", *["up_blocks"] * 4]
    assert [tuple(each.shape) for each in patch.method.mixture.each()] == [(64, 8), (16, 16), (16, 16)]


def test_reference_pictures_get_no_prompts() -> None:
    """Flux Kontext tells them by the first number of img_ids, Qwen-Image-Edit by a second shape; both put them last."""
    for name in ("FluxTransformer2DModel", "QwenImageTransformer2DModel"):
        if name not in HERE:
            continue
        model, patch = patched(name, gate="constant", grid=2, injection=[0])
        call = call_of(name)
        call["hidden_states"] = torch.cat([call["hidden_states"], call["hidden_states"]], 1)
        if name.startswith("Flux"):
            call["img_ids"] = torch.cat([call["img_ids"], call["img_ids"] + torch.tensor([1, 0, 0])])
        else:
            call["img_shapes"] = [[*shapes, (1, 4, 4)] for shapes in call["img_shapes"]]
        seen: list[Tensor] = []
        norm = model.transformer_blocks[0].get_submodule("norm1" if name.startswith("Flux") else "img_norm1")
        norm.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        sampled(model, call)
        patch.strength = 0
        sampled(model, call)
        changed = (seen[0] != seen[1]).any(-1)
        assert changed[:, :16].all()
        assert not changed[:, 16:].any()


SIZES = {
    "DiTTransformer2DModel": ({}, {None: 8.55, 8: 2.14}),
    "PixArtTransformer2DModel": ({"sample_size": 128, "caption_channels": 4096}, {128 // 2: 137, None: 8.55, 8: 2.14}),
    "SD3Transformer2DModel": (
        {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536},
        {64: 157, 16: 9.83, None: 9.83, 8: 2.46},
    ),
    "FluxTransformer2DModel": ({"guidance_embeds": True}, {64: 730, None: 45.6, 8: 11.4}),
    "SanaTransformer2DModel": ({}, {32: 48.2, None: 12.0, 8: 3.0}),
    "UNet2DConditionModel": ({"cross_attention_dim": 768, "sample_size": 64}, {64: 16.8, None: 3.28, 8: 0.88}),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_published_models(name: str) -> None:
    """In millions: the prompts and the gate, by the side of the grid; they are what a file holds."""
    options, sizes = SIZES[name]
    with torch.device("meta"):
        model = getattr(diffusers, name)(**options)
        for side, millions in sizes.items():
            patch = dmp.attach(model, grid=side)
            assert patch.method.size / 1e6 == pytest.approx(millions, rel=0.006)
            patch.remove()


def test_weights_have_mean_1_where_prompts_are_fewer_than_tokens() -> None:
    model = build("SD3Transformer2DModel")
    for options, total in (
        ({}, 1),
        ({"grid": 2}, 4),
        ({"gate": "sigmoid", "grid": 2}, 4),
        ({"gate": partial(dmp.LinearGate, weight_scale="sum"), "grid": 2}, 1),
    ):
        patch = dmp.attach(model, **options)
        answer(model, call_of("SD3Transformer2DModel"))
        total = torch.full((3, 3), float(total))  # of sigmoids, on average: each has its own noise
        torch.testing.assert_close(
            patch._last.gates.weights.sum(-1), total, rtol=0.5 if "gate" in options else 1e-5, atol=0
        )
        patch.remove()


def test_a_patch_file_names_where_its_base_came_from(tmp_path: Path) -> None:
    model, path = build("SD3Transformer2DModel"), tmp_path / "x.safetensors"
    hub = "models--stabilityai--stable-diffusion-3-medium-diffusers/snapshots/" + "ab" * 20
    model.register_to_config(_name_or_path=f"/home/me/.cache/huggingface/hub/{hub}/transformer")
    dmp.attach(model).save(path)
    base = read_patch(path).about["base"]
    assert (base["repo"], base["revision"]) == ("stabilityai/stable-diffusion-3-medium-diffusers", "ab" * 20)
    assert "/home/me" not in path.read_bytes().decode(errors="replace")
    other = build("SD3Transformer2DModel")
    with torch.no_grad():
        other.proj_out.weight.add_(1)
    with pytest.raises(
        dmp.UserError, match=re.escape("another base (stabilityai/stable-diffusion-3-medium-diffusers)")
    ):
        dmp.load(other, path)


def test_the_page_adds_a_class_that_is_not_in_the_table(tmp_path: Path) -> None:
    names: dict[str, dmp.Family] = {}
    page = (Path(__file__).parents[2] / "docs/add_backbone.md").read_text()
    exec(re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0], names)
    family = names["cogview"]

    def new() -> nn.Module:
        torch.manual_seed(0)
        return diffusers.CogView4Transformer2DModel(
            in_channels=4, out_channels=4, num_layers=3, attention_head_dim=8, num_attention_heads=2, text_embed_dim=12,
            time_embed_dim=10, condition_dim=4, pos_embed_max_size=8, sample_size=8, rope_axes_dim=(8, 8),
        ).eval()  # fmt: skip

    source = torch.Generator().manual_seed(1)
    call = {
        "hidden_states": torch.randn(2, 4, 8, 12, generator=source),
        "encoder_hidden_states": torch.randn(2, 5, 12, generator=source),
        "timestep": torch.tensor([300.0, 700.0]),
        **dict.fromkeys(("original_size", "target_size", "crop_coords"), torch.full((2, 2), 8.0)),
    }
    model = new()
    base = sampled(model, call)
    with pytest.raises(dmp.UserError, match="CogView4Transformer2DModel is not among the models"):
        dmp.attach(model)
    patch = dmp.attach(model, family=family)
    assert torch.equal(sampled(model, call), base)
    moved(patch).save(tmp_path / "x.safetensors")
    expected = sampled(model, call)
    assert not torch.allclose(expected, base, rtol=0.01)
    second = new()
    dmp.load(second, tmp_path / "x.safetensors", family=family)
    assert torch.equal(sampled(second, call), expected)
    patch.remove()
    wrong = {
        "embedding": ("patch_embed.text_proj.nothing", "has no patch_embed.text_proj.nothing, which its family names"),
        "sites": ((dmp.Sites("blocks"),), "has no blocks, which its family names"),
    }
    for part, (value, said) in wrong.items():
        with pytest.raises(dmp.UserError, match=said):
            dmp.attach(model, family=replace(family, **{part: value}))
    uncalled = replace(family, embedding="norm_out.linear", embed=None)
    for other, said in (
        (replace(family, place=lambda *_: (1, 8, 8)), "A block got 24 tokens, where the picture has 64"),
        (replace(uncalled, sites=(dmp.Sites("transformer_blocks"),)), None),
    ):
        patch = dmp.attach(model, family=other)
        if said is None:
            patch.method.backbone._handles[-1].remove()  # as of a module that is there, but is not called
            said = "did not call norm_out.linear: its patch had no effect"
        with pytest.raises(dmp.UserError, match=said):
            sampled(model, call)
        patch.remove()
