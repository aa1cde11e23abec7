"""The files of LightningDiT: shards of latents with those of the mirrors, and the statistics of each channel."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmp_lightning.data.latents.foreign_checks import AGAIN
from dmp_lightning.data.latents.store import read_tensors
from dmp_lightning.user_error import UserError

STATISTICS = "latents_stats.pt"


class Shard(NamedTuple):
    """`latents` and those of the mirrors, each (n, C, H, W), and labels (n,), memory-mapped."""

    latents: Tensor
    flipped: Tensor
    labels: Tensor


class Pairs:
    """A shard of LightningDiT, read as numbers of type `kept`."""

    mirrors = 2

    def __init__(self, path: Path, shard: Shard, kept: np.dtype) -> None:
        self.path = path
        dtype = torch.float16 if kept == np.float16 else torch.float32
        self.planes, self.dtype = (shard.latents, shard.flipped), dtype

    def __len__(self) -> int:
        return len(self.planes[0])

    def row(self, index: int, mirror: int) -> np.ndarray:
        return self.planes[mirror][index, None].to(self.dtype).numpy()

    def name(self, index: int) -> str:
        return f"number {index} of {self.path}"


def read_shard(path: Path) -> Shard:
    """Open a shard.

    Raises:
        UserError: it is damaged, or its tensors do not go together.
    """
    shard = Shard(*read_tensors(path, ["latents", "latents_flip", "labels"]))
    latents, flipped, labels = shard
    fits = latents.ndim == 4 and latents.shape == flipped.shape and labels.shape == latents.shape[:1]
    if not fits or latents.dtype != flipped.dtype or not len(latents):
        raise UserError(
            f"{path} holds latents {_about(latents)}, mirrors {_about(flipped)} and labels {_about(labels)}: they do "
            f"not go together, {AGAIN}."
        )
    return shard


def _about(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"


def read_statistics(path: Path, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (C, 1, 1).

    Raises:
        UserError: the file is damaged, or they are not.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        mean, std = (found[name].float().reshape(-1, 1, 1) for name in ("mean", "std"))
    except Exception as error:  # what torch raises on damaged files is of many kinds
        raise UserError(f"{path} holds no mean and std of latents: remove it, or restore it.") from error
    for name, value in (("mean", mean), ("std", std)):
        if len(value) != channels:
            raise UserError(f"{path} has a {name} of {len(value)} channels, the latents have {channels}: restore it.")
        if not value.isfinite().all() or (name == "std" and not (value > 0).all()):
            raise UserError(f"{path} has a {name} of {value.flatten().tolist()}: remove it, or restore it.")
    return mean, std
