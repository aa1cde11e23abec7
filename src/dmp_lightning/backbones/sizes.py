"""The sizes of a DiT as its weights tell them: for a config, and to compare with one."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from dmp_lightning.backbones import diffusers_format
from dmp_lightning.backbones.base import Backbone
from dmp_lightning.backbones.positions import grid_of
from dmp_lightning.backbones.recognise import recognise
from dmp_lightning.backbones.weight_sets import read_weights
from dmp_lightning.user_error import UserError

HEADS = {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1152, 28): 16}
"""Of the paper's DiT-S, B, L and XL, by width and depth."""
HEAD = 64  # channels of a head in nearly all transformers
NAMES = tuple(
    f"{name}.weight"
    for name in ("x_embedder.proj", "t_embedder.mlp.0", "y_embedder.embedding_table", "final_layer.linear")
)
"""By which a DiT's weights are found in a file, before its depth is known."""


def read_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """A DiT's sizes, as far as the weights are there that tell them.

    `rows` counts the rows of the class table; the last one may be for the null label. `input_size` comes from the fixed
    positions.
    """
    found: dict[str, Any] = {}
    patches, table, positions = (
        tensors.get(name) for name in ("x_embedder.proj.weight", "y_embedder.embedding_table.weight", "pos_embed")
    )
    if patches is not None and patches.ndim == 4:
        found = dict(zip(("width", "in_channels", "patch_size"), patches.shape[:3], strict=True))
        if positions is not None and positions.ndim == 3:
            sides = [side * patches.shape[2] for side in grid_of(positions[0])]
            found["input_size"] = sides[0] if sides[0] == sides[1] else sides
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    if blocks:
        found["depth"] = len(blocks)
    if table is not None and table.ndim == 2:
        found["rows"] = len(table)
    return found


def compare_sizes(file: Path, tensors: Mapping[str, Tensor], backbone: Backbone) -> None:
    """Make sure that the configured sizes are those of the weights.

    Raises:
        UserError: some are not; the sentence names both.
    """
    theirs, ours = read_sizes(tensors), read_sizes(backbone.state_dict())
    other = {key: (theirs[key], ours[key]) for key in ours if key in theirs and theirs[key] != ours[key]}
    other.pop("rows", None)  # which labels are fitted to
    if other:
        told = ", ".join(f"{key}={found}" for key, (found, _) in other.items())
        wanted = ", ".join(f"backbone.model.{key}={value}" for key, (_, value) in other.items())
        raise UserError(
            f"{file} has {told}, but the config has {wanted}: set backbone=from_file, which reads the sizes from the "
            "file, or change backbone.model."
        )


def in_weights(
    key: str, path: str | None, part: str | None, class_dropout_prob: float | None, predicts: str | None = None
) -> Any:
    """One of the sizes of the DiT in `path`, an argument of `DiT`, for a config; None where no file is named.

    No shape tells the number of heads: it is that of diffusers' config, or guessed. The last row of the class table is
    the null label's if `class_dropout_prob` is above zero. `predicts` is what the user says of the weights.

    Raises:
        MissingFileError: there is no such file.
        UserError: there is no DiT in it, or the number of heads cannot be guessed.
    """
    if path is None:
        return None
    sizes = _sizes(path, part)
    if key == "num_classes":
        return sizes["rows"] - bool(class_dropout_prob)
    if key == "predicts":
        return sizes["recognised"].stated(path, predicts)
    if key == "heads":
        return sizes.get("heads") or _guess_heads(sizes["width"], sizes["depth"])
    return sizes[key]


def null_label(path: str | None, part: str | None) -> float | None:
    """The `class_dropout_prob` that is guessed: DiT's own, which gives a null label, where there are several rows."""
    if path is None:
        return None
    return 0.1 if _sizes(path, part)["rows"] > 1 else 0.0


@lru_cache(maxsize=1)
def _sizes(path: str, part: str | None) -> dict[str, Any]:
    found = read_weights(path, NAMES, part)
    tensors, config = found.weights.tensors, dict[str, Any]()
    if diffusers_format.is_one(tensors):
        tensors, config = diffusers_format.convert(tensors), diffusers_format.read_config(found.file)
    sizes = read_sizes(tensors)
    if "sample_size" in config:
        sizes["input_size"] = config["sample_size"]
    missing = {"width", "depth", "input_size", "rows"} - sizes.keys()
    if missing:
        raise UserError(f"{found.file} is not a DiT: its weights do not show {' and '.join(sorted(missing))}.")
    sizes["recognised"] = recognise(found.file, tensors, found.content)
    heads = config.get("num_attention_heads")
    return sizes if heads is None else sizes | {"heads": heads}


def _guess_heads(width: int, depth: int) -> int:
    """The paper's number of heads for these sizes, else heads of 64 channels each."""
    heads = HEADS.get((width, depth), width // HEAD if width % HEAD == 0 else None)
    if not heads:
        raise UserError(f"The number of heads of a DiT of width {width} cannot be guessed: set backbone.model.heads.")
    return heads
