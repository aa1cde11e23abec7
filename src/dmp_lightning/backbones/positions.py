"""The fixed positions of a DiT's tokens, and the grid that they tell."""

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDED = 0.01
"""More than half precision rounds positions by."""


def sincos_positions(width: int, grid: tuple[int, int]) -> Float[Tensor, "T D"]:
    """Fixed positions on a grid: a quarter of the channels each for sin and cos of the column, then of the row."""
    frequencies = 10000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    down, across = (torch.arange(side, dtype=torch.float64)[:, None] * frequencies for side in grid)
    rows, columns = (torch.cat([angles.sin(), angles.cos()], dim=1) for angles in (down, across))
    return torch.cat([columns.repeat(grid[0], 1), rows.repeat_interleave(grid[1], dim=0)], dim=1).float()


def grid_of(positions: Float[Tensor, "T D"]) -> tuple[int, int]:
    """The grid that fixed positions are of; of positions of another kind, the one nearest to a square."""
    tokens, width = positions.shape
    grids = [(rows, tokens // rows) for rows in range(1, tokens + 1) if tokens % rows == 0]
    grids.sort(key=lambda grid: abs(grid[0] - grid[1]))
    if width % 4:
        return grids[0]
    fits = (grid for grid in grids if torch.allclose(positions.float(), sincos_positions(width, grid), atol=ROUNDED))
    return next(fits, grids[0])
