"""Randomness as a function of counters: no state to save, the same for any batch size and number of processes."""

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Stream(IntEnum):
    """Independent sources of randomness under one seed."""

    TRAINING = 0
    VALIDATION = 1
    GENERATION = 2
    ORDER = 3
    DRAWS = 4


def generator(seed: int, stream: Stream, *counters: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator that depends on `seed`, `stream`, `counters` and the kind of device, and on nothing else."""
    word = np.random.SeedSequence(seed, spawn_key=(stream, *counters)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(word))


def generators(seed: int, stream: Stream, indices: Iterable[int]) -> list[torch.Generator]:
    """One generator for each sample."""
    return [generator(seed, stream, int(index)) for index in indices]


def normal(sources: Iterable[torch.Generator], shape: tuple[int, ...]) -> Float[Tensor, "B ..."]:
    """Standard normal noise (B, *shape): row n comes from the n-th source alone."""
    return torch.stack([torch.randn(shape, generator=source) for source in sources])
