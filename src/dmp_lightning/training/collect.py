"""Collecting what processes computed of their own samples."""

import lightning as L
import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor, distributed


def gather_in_order(
    trainer: L.Trainer, positions: Int[Tensor, " n"], values: Shaped[Tensor, "n ..."]
) -> Shaped[Tensor, "N ..."]:
    """The values of all processes on each of them, one for each position, ordered by it."""
    if trainer.world_size > 1:
        parts: list = [None] * trainer.world_size
        distributed.all_gather_object(parts, (positions, values))
        positions, values = (torch.cat(held) for held in zip(*parts, strict=True))
    return values[np.unique(positions.numpy(), return_index=True)[1]]
