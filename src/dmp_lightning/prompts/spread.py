"""Adding a grid of weighted prompts to the tokens of a pass, whatever the size and shape of its picture."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from dmp_lightning.prompts.placement import Grid

Place = tuple[int, int, int] | Int[Tensor, "T 2"]
"""Where the T tokens of a pass are: (frames, rows, columns), frame by frame and row by row; or the row and column of
each, -1 for a token that is not on the picture, such as one of a reference picture."""
Spread = tuple[Float[Tensor, "T2 P2"], ...]
"""Matrices that take prompts to tokens: none where each prompt serves one token, one for rows and one for columns, or
one for both."""


@dataclass(frozen=True, slots=True)
class WeightedPrompts:
    """The prompts of one site in one pass; called with its tokens, it adds them.

    The tokens keep their type: a float32 patch on a bfloat16 base gives bfloat16, and zero prompts change no bit.

    Args:
        weights: (B, P), or (1, P) for all samples alike. prompts: (P, D). cells: their rows and columns.
        spread: see `spread`.
    """

    weights: Tensor
    prompts: Tensor
    cells: Grid
    spread: tuple[Tensor, ...]

    def __call__(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        # Autocast would round the tokens, too.
        with _exactly(tokens.device):
            weighted = (self.weights[:, :, None] * self.prompts).to(tokens.dtype)
            if not self.spread:
                return tokens + weighted
            rows = self.spread[0].to(tokens.dtype)
            lines = tokens
            if len(self.spread) == 2:
                columns = self.spread[1].to(tokens.dtype)
                weighted = (columns @ weighted.unflatten(1, self.cells)).flatten(2)
                lines = tokens.reshape(len(tokens), len(rows), -1)
            everyone = (len(tokens), -1, -1)
            return torch.baddbmm(lines, rows.expand(everyone), weighted.expand(everyone)).reshape(tokens.shape)


def _exactly(device: torch.device) -> AbstractContextManager:
    """Without autocast, which does not know the `meta` device."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def spread(place: Place, cells: Grid, device: torch.device) -> Spread:
    """The matrices from a grid of `cells` to the tokens at `place`: bilinear between the centres of the cells.

    All frames of a video get the same. Where there are fewer tokens than cells, each token takes the mean of those
    around it, weighed by a triangle, as an antialiased resize does.
    """
    if isinstance(place, Tensor):
        counts = place.amax(0) + 1
        rows, columns = (_taps(place[:, axis], counts[axis], cells[axis]) for axis in (0, 1))
        there = (place >= 0).all(1)
        return ((rows[:, :, None] * columns[:, None, :]).flatten(1) * there[:, None],)
    frames, *grid = place
    if place == (1, *cells):
        return ()
    if torch.compiler.is_compiling():
        rows, columns = (_lines(grid[axis], cells[axis], device) for axis in (0, 1))
    else:  # tensors of inference mode cannot be used in training
        inference = torch.is_inference_mode_enabled()
        rows, columns = (_kept_lines(grid[axis], cells[axis], device, inference) for axis in (0, 1))
    return rows.repeat(frames, 1), columns


def pooled(weights: Float[Tensor, "B P"], grid: Grid, cells: Grid, total: bool) -> Float[Tensor, "B P2"]:
    """The weights of a `grid` of prompts for a coarser one: the mean of each region, or with `total` its sum."""
    if grid == cells:
        return weights
    mean = F.adaptive_avg_pool2d(weights.unflatten(1, grid), cells).flatten(1)
    return mean * (weights.shape[1] / mean.shape[1]) if total else mean


def _lines(tokens: int, cells: int, device: torch.device) -> Float[Tensor, "T P"]:
    return _taps(torch.arange(tokens, device=device), torch.tensor(tokens, device=device), cells)


@lru_cache(maxsize=64)
def _kept_lines(tokens: int, cells: int, device: torch.device, inference: bool) -> Float[Tensor, "T P"]:
    return _lines(tokens, cells, device)


def _taps(index: Int[Tensor, " T"], count: Int[Tensor, ""], cells: int) -> Float[Tensor, "T P"]:
    """How much each of the `cells` of a line counts at token `index` of `count`."""
    # In whole numbers as far as possible: with as many tokens as cells, each counts 1 at its own, exactly.
    at = (((2 * index + 1) * cells - count) / (2 * count)).clamp(0, cells - 1)
    distance = (at[:, None] - torch.arange(cells, device=index.device)).abs()
    taps = (1 - distance / (cells / count).clamp(min=1)).clamp(min=0)
    return taps / taps.sum(1, keepdim=True)
