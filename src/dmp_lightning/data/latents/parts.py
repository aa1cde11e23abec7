"""Files of latents, memory-mapped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Num
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dmp_lightning.user_error import UserError


@runtime_checkable
class Part(Protocol):
    """A file of latents, or many."""

    mirrors: int
    """2 if each image's mirror is stored too, else 1."""

    def __len__(self) -> int: ...

    def row(self, index: int, mirror: int) -> np.ndarray:
        """(S, C, H, W): mean and standard deviation (S = 2), or a latent that is drawn already (S = 1)."""

    def name(self, index: int) -> str:
        """The place of a latent, for messages."""


class Planes:
    """A shard: latents (n, S, C, H, W), and as many of the mirrors if they are stored; memory-mapped."""

    def __init__(self, path: Path, planes: Sequence[Num[Tensor, "n S C H W"]]) -> None:
        self.path, self.mirrors = path, len(planes)
        # numpy reads a row faster, but has no bfloat16.
        self.planes = [plane if plane.dtype == torch.bfloat16 else plane.numpy() for plane in planes]

    def __len__(self) -> int:
        return len(self.planes[0])

    def row(self, index: int, mirror: int) -> np.ndarray:
        row = self.planes[mirror][index]
        return row.float().numpy() if isinstance(row, Tensor) else row

    def name(self, index: int) -> str:
        return f"number {index} of {self.path}"


def read_tensors(path: Path, names: Sequence[str]) -> list[Tensor]:
    """Tensors of a safetensors file, memory-mapped.

    Raises:
        UserError: the file is damaged, or has no such tensors.
    """
    try:
        with safe_open(path, "pt") as file:
            return [file.get_tensor(name) for name in names]
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as latents ({error}): restore it, or encode again.") from error
