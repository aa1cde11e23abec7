"""The sizes of a DiT as its weights tell them."""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dmp_lightning.backbones.base import Backbone

HEADS = {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1152, 28): 16}
"""Of the paper's DiT-S, B, L and XL, by width and depth."""
HEAD = 64  # channels of a head in nearly all transformers


def read_sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """What the shapes of weights tell of a DiT's sizes: all that has its weight there.

    `rows` are those of the class table, of which the last may be the null label's.
    """
    found = {}
    patches, table, positions = (
        tensors.get(name) for name in ("x_embedder.proj.weight", "y_embedder.embedding_table.weight", "pos_embed")
    )
    if patches is not None and patches.ndim == 4:
        found = dict(zip(("width", "in_channels", "patch_size"), patches.shape[:3], strict=True))
        if positions is not None and positions.ndim == 3:
            found["input_size"] = math.isqrt(positions.shape[1]) * patches.shape[2]
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    if blocks:
        found["depth"] = len(blocks)
    if table is not None and table.ndim == 2:
        found["rows"] = len(table)
    return found


def compare_sizes(file: Path, tensors: Mapping[str, Tensor], backbone: Backbone) -> None:
    """Make sure that the configured sizes are those of the weights.

    Raises:
        ValueError: some are not; the sentence names both.
    """
    theirs, ours = read_sizes(tensors), read_sizes(backbone.state_dict())
    other = {key: (theirs[key], ours[key]) for key in ours if key in theirs and theirs[key] != ours[key]}
    other.pop("rows", None)  # which labels are fitted to
    if other:
        told = ", ".join(f"{key}={found}" for key, (found, _) in other.items())
        wanted = ", ".join(f"backbone.model.{key}={value}" for key, (_, value) in other.items())
        raise ValueError(
            f"{file} has {told}, the backbone needs {wanted} as configured: set backbone=from_file, which takes them "
            "from the file, or backbone.model as the file has it."
        )


def guess_heads(width: int, depth: int) -> int:
    """How many attention heads a DiT of these sizes has, which no shape tells: the paper's, else of 64 channels each.

    Raises:
        ValueError: nothing can be guessed.
    """
    heads = HEADS.get((width, depth), width // HEAD if width % HEAD == 0 else None)
    if not heads:
        raise ValueError(f"The number of heads of a DiT of width {width} cannot be guessed: set backbone.model.heads.")
    return heads
