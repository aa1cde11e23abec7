from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from dmp_lightning.backbones import Backbone, DiT
from dmp_lightning.condition import Condition

CONF = Path(__file__).parents[2] / "conf" / "backbone"
SMALL = {
    "input_size": 8,
    "in_channels": 2,
    "patch_size": 2,
    "width": 16,
    "depth": 2,
    "heads": 2,
    "num_classes": 3,
    "class_dropout_prob": 0.1,
}
PAPER = {"s": (12, 384, 6), "b": (12, 768, 12), "l": (24, 1024, 16), "xl": (28, 1152, 16)}  # table 1 of the DiT paper


def count_by_hand(width, depth, patch_size, rows, channels=4, side=32):
    """Weights of a DiT with `rows` rows in its label table, from the sizes of its layers."""
    patch = patch_size**2 * channels
    block = (3 + 1 + 4 + 4 + 6) * width**2 + (3 + 1 + 4 + 1 + 6) * width
    embedding = (patch + 1) * width + (256 + 1) * width + (width + 1) * width + rows * width
    positions = (side // patch_size) ** 2 * width
    final = (width + 1) * 2 * patch + (width + 1) * 2 * width
    return depth * block + embedding + positions + final


def test_the_backbone_matches_the_golden_outputs(golden_dit):
    backbone, values = golden_dit
    assert_close(backbone(values["x"], values["t"], Condition(values["y"])), values["out.frozen"], atol=1e-5, rtol=0)


def test_positions_are_those_of_the_golden_weights(golden_dit):
    fresh = DiT(**SMALL | {"width": golden_dit.backbone.width})
    assert_close(fresh.pos_embed.data, golden_dit.values["backbone.pos_embed"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("patch_size", [2, 4, 8])
@pytest.mark.parametrize("size", PAPER)
def test_each_configured_size_is_the_one_of_the_paper(size, patch_size):
    shared, own = (yaml.safe_load((CONF / f"{name}.yaml").read_text()) for name in ("_dit", f"dit_{size}{patch_size}"))
    config = shared["model"] | own["model"]
    del config["_target_"]
    depth, width, heads = PAPER[size]
    with torch.device("meta"):
        backbone = DiT(**config)
    assert (len(backbone.blocks), backbone.width, backbone.blocks[0].attn.num_heads) == (depth, width, heads)
    assert (backbone.patch_size, backbone.tokens) == (patch_size, (32 // patch_size) ** 2)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count == count_by_hand(width, depth, patch_size, rows=1)


@pytest.mark.parametrize(("dropout", "null_label", "rows"), [(0.1, 3, 4), (0.0, None, 3)])
def test_only_label_dropout_adds_a_null_label(dropout, null_label, rows):
    backbone = DiT(**SMALL | {"class_dropout_prob": dropout})
    assert backbone.null_label == null_label
    assert backbone.y_embedder.embedding_table.num_embeddings == rows


def test_a_new_backbone_predicts_zero_through_blocks_that_do_nothing():
    backbone, x, t, y = DiT(**SMALL), torch.randn(2, 2, 8, 8), torch.tensor([0, 999]), Condition(torch.tensor([0, 2]))
    tokens = torch.randn(2, 16, 16)
    assert torch.equal(backbone.blocks[0](tokens, backbone.embed(t, y)), tokens)
    assert torch.equal(backbone(x, t, y), torch.zeros(2, 4, 8, 8))


def test_enter_is_called_before_each_block_with_the_embeddings_of_the_pass(golden_dit):
    backbone, values = golden_dit
    inputs = values["x"], values["t"], Condition(values["y"])
    sites, inside = [], []

    def enter(tokens, site):
        sites.append(site)
        return tokens

    hooks = [block.register_forward_hook(lambda *_: inside.append(len(sites))) for block in backbone.blocks]
    assert torch.equal(backbone(*inputs, enter), backbone(*inputs))
    for hook in hooks:
        hook.remove()
    assert [site.number for site in sites] == list(range(backbone.depth))
    assert inside[: backbone.depth] == [1, 2, 3]
    for site in sites:
        assert all(map(torch.equal, site.embeddings, backbone.embed(*inputs[1:])))


def test_tokens_that_were_put_before_the_others_are_dropped_at_the_end(golden_dit):
    backbone, values = golden_dit
    inputs = values["x"], values["t"], Condition(values["y"])

    def enter(tokens, site):
        return torch.cat([tokens[:, :5], tokens], dim=1) if site.number == backbone.depth - 1 else tokens

    assert backbone(*inputs, enter).shape == values["out.frozen"].shape


def test_it_offers_what_methods_ask_of_a_backbone():
    assert isinstance(DiT(**SMALL), Backbone)
    assert DiT(**SMALL).sample_shape == (2, 8, 8)


def test_rows_and_columns_may_differ():
    """Of a new model, whose blocks do nothing yet, each patch of the output depends on the same patch of the input."""
    backbone = DiT(**SMALL | {"input_size": (8, 12)})
    torch.nn.init.normal_(backbone.final_layer.linear.weight)
    x, t, y = torch.randn(1, 2, 8, 12), torch.tensor([3]), Condition(torch.tensor([0]))
    changed = x.clone()
    changed[0, 0, 5, 10] += 1
    other = (backbone(changed, t, y) - backbone(x, t, y)).abs().sum((0, 1)) > 0
    rows, columns = other.nonzero().unbind(1)
    assert (backbone.sample_shape, backbone.grid) == ((2, 8, 12), (4, 6))
    assert (set(rows.tolist()), set(columns.tolist())) == ({4, 5}, {10, 11})
    with pytest.raises(ValueError, match=r"input_size=\(8, 9\)"):
        DiT(**SMALL | {"input_size": (8, 9)})


def test_saved_weights_come_back_as_they_were(golden_dit, tmp_path):
    saved, values = golden_dit
    save_file(saved.state_dict(), tmp_path / "base.safetensors")
    loaded = DiT(
        **SMALL
        | {
            "in_channels": 4,
            "width": saved.width,
            "depth": 3,
            "heads": 4,
            "num_classes": saved.num_classes,
            "class_dropout_prob": saved.class_dropout_prob,
        }
    )
    loaded.load_state_dict(load_file(tmp_path / "base.safetensors"))
    inputs = values["x"], values["t"], Condition(values["y"])
    assert torch.equal(loaded(*inputs), saved(*inputs))


@pytest.mark.parametrize("wrong", [{"patch_size": 3}, {"heads": 3}, {"width": 18}], ids=str)
def test_sizes_that_do_not_divide_are_refused(wrong):
    with pytest.raises(ValueError, match="cannot be built: patch_size must divide input_size"):
        DiT(**SMALL | wrong)
