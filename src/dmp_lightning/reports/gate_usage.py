"""Measures of the gates of a run: use of the prompts, likeness of timesteps, and prompts' places on the picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Num

from dmp_lightning.runs.said import Flat

SIDES = {str(side) for side in range(1, 1 << 12)}  # of pictures and patches, as settings say them

DEAD = 0.01
"""A prompt is dead whose part in the mixture is below this share of the mean part in its block."""


@dataclass(frozen=True)
class Gates:
    """The gates of one run: `weights` of the P prompts of L `blocks` at S `timesteps`, and each prompt's `norms`.

    `grid` is the rows and columns of the prompts on the picture; None where they have no place, or nobody told.
    """

    weights: Float[np.ndarray, "L S P"]
    timesteps: Num[np.ndarray, " S"]
    blocks: list[int]
    norms: Float[np.ndarray, "L P"]
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Usage:
    """The use of the prompts of each block.

    `entropy` is that of the use over all timesteps, divided by log P: 1 is all alike, 0 one prompt alone. `effective`
    is exp of the entropy, the number of prompts that would have it if they were used alike; `at_once` the same at a
    single timestep, on average. `dead` says which prompts take no part.
    """

    entropy: Float[np.ndarray, " L"]
    effective: Float[np.ndarray, " L"]
    at_once: Float[np.ndarray, " L"]
    dead: Bool[np.ndarray, "L P"]


def gates_of(evidence: Mapping[str, np.ndarray]) -> Gates | None:
    """The gates in a run's evidence, None where it has none."""
    if "gate_weights" not in evidence:
        return None
    blocks = [int(block) for block in evidence["gate_blocks"]]
    told = evidence.get("prompt_grid")
    grid = None if told is None else (int(told[0]), int(told[1]))
    return Gates(evidence["gate_weights"], evidence["gate_timesteps"], blocks, evidence["prompt_norms"], grid)


def usage(gates: Gates) -> Usage:
    """Use of the prompts: their shares of the weights in a block at a timestep, averaged over timesteps."""
    weights = gates.weights.astype(np.float64)
    shares = weights / np.maximum(weights.sum(-1, keepdims=True), np.finfo(float).tiny)
    over_all = _entropy(shares.mean(1))
    most = math.log(shares.shape[-1]) or 1.0  # of a single prompt the entropy is zero anyway
    part = weights.mean(1) * gates.norms
    return Usage(over_all / most, np.exp(over_all), np.exp(_entropy(shares)).mean(1), _below_share(part))


def similarity(gates: Gates) -> Float[np.ndarray, "L S S"]:
    """Cosine between the mixtures of any two timesteps, taken as the prompts times their weights, one after another.

    `sum_p w_p w'_p |p|^2 / (|m| |m'|)`: exact where no two prompts serve the same token. Zero where a mixture is zero.
    """
    mixtures = gates.weights.astype(np.float64) * gates.norms[:, None, :]
    lengths = np.linalg.norm(mixtures, axis=-1, keepdims=True)
    unit = np.divide(mixtures, lengths, out=np.zeros_like(mixtures), where=lengths > 0)
    return unit @ unit.swapaxes(1, 2)


def on_grid(values: Float[np.ndarray, "*batch P"], grid: tuple[int, int]) -> Float[np.ndarray, "*batch rows columns"]:
    """The values of the prompts where they act on the picture; several at one place are averaged."""
    return values.reshape(*values.shape[:-1], -1, *grid).mean(-3)


def grid_of_earlier(prompts: int, settings: Flat) -> tuple[int, int] | None:
    """The grid of a run whose evidence does not tell it: that of a DiT of square pictures, None with another backbone.

    With fewer prompts than tokens each stands for its square region.
    """
    sizes = [settings.get(f"backbone.model.{name}", "") for name in ("input_size", "patch_size")]
    side, patch = (int(size) if size in SIDES else 0 for size in sizes)
    if settings.get("method.position") == "prepend" or not patch or side < patch:
        return None
    side //= patch
    if prompts % side**2 == 0:
        return side, side
    return next(((cells, cells) for cells in range(1, side) if cells**2 == prompts and side % cells == 0), None)


def shown_timesteps(timesteps: Sequence[int] | Num[np.ndarray, " S"], count: int = 5) -> list[int]:
    """Indices of `count` timesteps that are evenly spread, the first and the last among them."""
    return [round(index) for index in np.linspace(0, len(timesteps) - 1, min(count, len(timesteps)))]


def _entropy(shares: Float[np.ndarray, "*batch P"]) -> Float[np.ndarray, "*batch"]:
    logarithms = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logarithms).sum(-1)


def _below_share(part: Float[np.ndarray, "L P"]) -> Bool[np.ndarray, "L P"]:
    mean = part.mean(-1, keepdims=True)
    return (part < DEAD * mean) | (mean == 0)
