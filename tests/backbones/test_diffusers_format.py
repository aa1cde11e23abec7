"""One random state in both public layouts: what they load into is the same model, and diffusers' own agrees with it."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from dmp_lightning.backbones import DiT, load_weights
from dmp_lightning.condition import Condition
from dmp_lightning.methods.patches import fingerprint

DEPTH, WIDTH, HEADS, CLASSES = 3, 32, 4, 5
NORMS = {"norm_eps": 1e-6}  # as the release; diffusers' own default of its second norm is 1e-5


def dit(**changes) -> DiT:
    sizes = {"input_size": 8, "in_channels": 4, "patch_size": 2, "width": WIDTH, "depth": DEPTH, "heads": HEADS}
    return DiT(**(sizes | {"num_classes": CLASSES, "class_dropout_prob": 0.1} | changes)).eval()


def random_state() -> dict[str, Tensor]:
    """In the layout of the public `.pt` files, no weight zero."""
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(value.shape, generator=generator) / 4 for name, value in dit().state_dict().items()}
    return state | {"pos_embed": dit().pos_embed.detach()}


def diffusers_model(state: dict[str, Tensor], **config) -> DiTTransformer2DModel:
    """Diffusers' real class with the weights of `state`, set module by module."""
    model = DiTTransformer2DModel(
        num_attention_heads=HEADS, attention_head_dim=WIDTH // HEADS, in_channels=4, out_channels=8, num_layers=DEPTH,
        sample_size=8, num_embeds_ada_norm=CLASSES, **(NORMS | config),
    )  # fmt: skip

    def fill(module: torch.nn.Module, name: str, part: slice = slice(None)) -> None:
        for kind, value in module.named_parameters():
            value.data.copy_(state[f"{name}.{kind}"][part])

    fill(model.pos_embed.proj, "x_embedder.proj")
    fill(model.proj_out_1, "final_layer.adaLN_modulation.1")
    fill(model.proj_out_2, "final_layer.linear")
    for i, block in enumerate(model.transformer_blocks):
        fill(block.norm1.emb.timestep_embedder.linear_1, "t_embedder.mlp.0")
        fill(block.norm1.emb.timestep_embedder.linear_2, "t_embedder.mlp.2")
        fill(block.norm1.emb.class_embedder.embedding_table, "y_embedder.embedding_table")
        fill(block.norm1.linear, f"blocks.{i}.adaLN_modulation.1")
        fill(block.attn1.to_q, f"blocks.{i}.attn.qkv", slice(0, WIDTH))
        fill(block.attn1.to_k, f"blocks.{i}.attn.qkv", slice(WIDTH, 2 * WIDTH))
        fill(block.attn1.to_v, f"blocks.{i}.attn.qkv", slice(2 * WIDTH, None))
        fill(block.attn1.to_out[0], f"blocks.{i}.attn.proj")
        fill(block.ff.net[0].proj, f"blocks.{i}.mlp.fc1")
        fill(block.ff.net[2], f"blocks.{i}.mlp.fc2")
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    diffusers_model(random_state()).save_pretrained(tmp_path / "dit")
    return tmp_path / "dit"


def inputs() -> tuple[Tensor, Tensor, Condition]:
    x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([0, 500, 999]), Condition(torch.tensor([0, 4, CLASSES]))


@torch.no_grad()
def test_both_layouts_are_the_same_model_and_diffusers_own_agrees(folder: Path, tmp_path: Path) -> None:
    state = random_state()
    torch.save(state, tmp_path / "dit.pt")
    x, t, condition = inputs()
    public = load_weights(dit(), tmp_path / "dit.pt")(x, t, condition)
    assert torch.equal(load_weights(dit(), folder)(x, t, condition), public)

    theirs = DiTTransformer2DModel.from_pretrained(folder, low_cpu_mem_usage=False).eval()
    for block in theirs.transformer_blocks:  # diffusers spaces the timestep's frequencies otherwise than the release
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    torch.testing.assert_close(theirs(x, t, class_labels=condition.label).sample, public, rtol=1e-4, atol=1e-4)
    assert public.std() > 0.5


@torch.no_grad()
def test_with_diffusers_frequencies_it_computes_what_diffusers_computes(folder: Path, caplog) -> None:
    x, t, condition = inputs()
    with caplog.at_level("INFO"):
        ours = load_weights(dit(timestep_frequencies="diffusers"), folder)
    assert "Timestep frequencies: diffusers' own" in caplog.text
    theirs = DiTTransformer2DModel.from_pretrained(folder, low_cpu_mem_usage=False).eval()
    torch.testing.assert_close(
        theirs(x, t, class_labels=condition.label).sample, ours(x, t, condition), rtol=1e-5, atol=1e-5
    )
    release = load_weights(dit(), folder)
    assert (release(x, t, condition) - ours(x, t, condition)).abs().max() > 1e-2
    assert fingerprint(release) != fingerprint(ours)  # a patch of the one does not go onto the other
    with pytest.raises(ValueError, match="timestep_frequencies=other is unknown: choose release or diffusers"):
        dit(timestep_frequencies="other")


def test_a_pipelines_folder_and_a_bin_file_load_too(folder: Path, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline" / "transformer"
    pipeline.mkdir(parents=True)
    (folder / "config.json").rename(pipeline / "config.json")
    torch.save(load_file(folder / "diffusion_pytorch_model.safetensors"), pipeline / "diffusion_pytorch_model.bin")
    loaded = load_weights(dit(), pipeline.parent).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in random_state().items())


def edited(folder: Path, change) -> None:
    file = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def drop_key(tensors: dict[str, Tensor]) -> None:
    del tensors["transformer_blocks.1.attn1.to_k.bias"]


def copies_differ(tensors: dict[str, Tensor]) -> None:
    tensors["transformer_blocks.2.norm1.emb.timestep_embedder.linear_1.bias"] += 1


def add_key(tensors: dict[str, Tensor]) -> None:
    tensors["caption_projection.weight"] = torch.ones(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_key, r"lacks blocks\.1\.attn\.qkv\.bias"),
        (copies_differ, r"Block 2 has another t_embedder\.mlp\.0\.bias than"),
        (add_key, r"is a PixArt \(it has the weight caption_projection\.weight\)"),
    ],
)
def test_weights_that_are_no_dit_are_refused(folder: Path, change, message: str) -> None:
    edited(folder, change)
    with pytest.raises(ValueError, match=message):
        load_weights(dit(), folder)


@pytest.mark.parametrize(
    ("key", "value"), [("num_attention_heads", 8), ("sample_size", 16), ("norm_type", "layer_norm")]
)
def test_a_config_that_says_otherwise_is_refused(folder: Path, key: str, value) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ValueError, match=f"{key}={value}, but the config has"):
        load_weights(dit(), folder)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file of weights .*no config\.json"):
        load_weights(dit(), tmp_path)
