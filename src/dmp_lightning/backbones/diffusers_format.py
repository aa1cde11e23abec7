"""The public DiT in diffusers' format (`DiTTransformer2DModel`), under the names of the public `.pt` files."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dmp_lightning.backbones.base import Backbone
from dmp_lightning.user_error import UserError

FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
OUTER = {
    "pos_embed.proj": "x_embedder.proj",
    "proj_out_1": "final_layer.adaLN_modulation.1",
    "proj_out_2": "final_layer.linear",
}
BLOCK = {
    "norm1.linear": "adaLN_modulation.1",
    "attn1.to_out.0": "attn.proj",
    "ff.net.0.proj": "mlp.fc1",
    "ff.net.2": "mlp.fc2",
}
EMBEDDERS = {  # each block has a copy of its own
    "norm1.emb.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "norm1.emb.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "norm1.emb.class_embedder.embedding_table": "y_embedder.embedding_table",
}


OUTERMOST = ("pos_embed.proj.weight", "proj_out_1.weight", "proj_out_2.weight")
"""Names by which weights in this format are found, whatever stands before them."""


def is_one(tensors: Collection[str]) -> bool:
    """Whether the weights have the names of this format."""
    return all(name in tensors for name in OUTERMOST)


def find_weights(path: Path) -> Path:
    """The weights in the folder of a transformer, or of a pipeline that holds one; any other path as it is."""
    for place in (path, path / "transformer"):
        for name in (FILES[0], f"{FILES[0]}.index.json", FILES[1]):
            if (place / "config.json").is_file() and (place / name).is_file():
                return place / name
    return path


def read_config(file: Path) -> dict[str, Any]:
    """The `config.json` beside the weights; nothing where there is none.

    Raises:
        UserError: it is unreadable.
    """
    path = file.with_name("config.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): download it again.") from error
    return found if isinstance(found, dict) else {}


def check_config(file: Path, backbone: Backbone) -> None:
    """Make sure that what the shapes of weights do not tell is as in the backbone.

    Args:
        file: the weights, beside their `config.json`.

    Raises:
        UserError: the config is unreadable, or says otherwise.
    """
    path, config = file.with_name("config.json"), read_config(file)
    attention: Any = backbone.blocks[0].attn
    ours = {
        "num_attention_heads": attention.num_heads,
        "sample_size": backbone.sample_shape[1],
        "norm_type": "ada_norm_zero",
        "activation_fn": "gelu-approximate",
    }
    for key, value in ours.items():
        if config.get(key, value) != value:
            raise UserError(f"{path} has {key}={config[key]}, but the config has {value}: change backbone.model.")


def convert(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under public names; positions are not among them, as they are computed.

    A name that is none of diffusers' stays as it is, for the strict loading to name it.

    Raises:
        UserError: the blocks' copies of an embedder differ, which the public model cannot express.
    """
    ours: dict[str, Tensor] = {}
    attention: dict[str, dict[str, Tensor]] = {}
    for key, value in theirs.items():
        module, _, kind = key.rpartition(".")
        _, _, rest = module.partition("transformer_blocks.")
        block, _, inner = rest.partition(".")
        if module in OUTER:
            ours[f"{OUTER[module]}.{kind}"] = value
        elif inner in BLOCK:
            ours[f"blocks.{block}.{BLOCK[inner]}.{kind}"] = value
        elif inner in ("attn1.to_q", "attn1.to_k", "attn1.to_v"):
            attention.setdefault(f"blocks.{block}.attn.qkv.{kind}", {})[inner[-1]] = value
        elif inner in EMBEDDERS:
            name = f"{EMBEDDERS[inner]}.{kind}"
            if not torch.equal(ours.setdefault(name, value), value):
                raise UserError(
                    f"Block {block} has another {name} than the blocks before it, but all blocks of a DiT share one: "
                    "these are not a DiT's weights."
                )
        else:
            ours[key] = value
    whole = {name: torch.cat([parts[part] for part in "qkv"]) for name, parts in attention.items() if len(parts) == 3}
    return ours | whole
