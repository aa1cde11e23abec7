"""Where prompts go: added to the tokens they serve, or before all tokens."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dmp_lightning.user_error import UserError

Grid = tuple[int, int]
"""(rows, columns)."""
ROUNDING = 1e-6
"""A share like 1/3 times the tokens is a whole number up to this."""


def counted(count: int | float | None, tokens: int) -> int | None:
    """`count` as a whole number: one with a decimal point is times the T `tokens`, so that 0.25 is T / 4 and 2.0 is 2T.

    Raises:
        UserError: that is no whole number of prompts.
    """
    if not isinstance(count, float):
        return count
    prompts = round(count * tokens)
    if abs(count * tokens - prompts) > ROUNDING:
        raise UserError(
            f"method.prompt_count={count} of {tokens} tokens is not a whole number of prompts: choose another fraction."
        )
    return prompts


def regions(grid: Grid) -> dict[int, Grid]:
    """The numbers of prompts that can share out the `grid` of tokens, and the grid of each.

    Each prompt serves a square region, the same size for all, down to a single token.
    """
    rows, columns = grid
    sides = [side for side in range(math.gcd(rows, columns), 0, -1) if rows % side == columns % side == 0]
    return {rows // side * (columns // side): (rows // side, columns // side) for side in sides}


def fitting_count(count: int | None, grid: Grid) -> int:
    """P, the prompts of a block: `count`, or one for each token of the `grid` (the paper).

    Raises:
        UserError: `count` is none of the `regions`, nor a multiple of the number of tokens.
    """
    tokens, shared = grid[0] * grid[1], regions(grid)
    if count is None:
        return tokens
    if count in shared or (count > 0 and count % tokens == 0):
        return count
    choices = ", ".join(map(str, shared))
    raise UserError(
        f"method.prompt_count={count} does not fit {tokens} tokens: choose {choices} or a multiple of {tokens}."
    )


def prepended_count(count: int | None, tokens: int) -> int:
    """P, where prompts are tokens of their own: `count`, or as many as there are `tokens`.

    Raises:
        UserError: `count` is less than one.
    """
    if count is not None and count < 1:
        raise UserError(f"method.prompt_count={count}: choose 1 or more.")
    return tokens if count is None else count


def mix(weights: Float[Tensor, "B P"], prompts: Float[Tensor, "P D"], grid: Grid) -> Float[Tensor, "B T D"]:
    """The vectors to add to the T tokens of the `grid`: the sum of the weighted prompts that serve each.

    With P = T each prompt serves one token. With fewer each serves a square region of the grid, see `regions`; with
    P = m * T each token has m prompts, t, t + T, t + 2T and so on.
    """
    count, tokens = prompts.shape[0], grid[0] * grid[1]
    if count > tokens:
        many = count // tokens
        return torch.einsum("bmt,mtd->btd", weights.unflatten(1, (many, tokens)), prompts.unflatten(0, (many, tokens)))
    weighted = weights[:, :, None] * prompts
    if count == tokens:
        return weighted
    cells = regions(grid)[count]
    side = grid[0] // cells[0]
    return weighted.unflatten(1, cells).repeat_interleave(side, dim=1).repeat_interleave(side, dim=2).flatten(1, 2)


def prepend(
    weights: Float[Tensor, "B P"], prompts: Float[Tensor, "P D"], tokens: Float[Tensor, "B2 N D"], kept: int
) -> Float[Tensor, "B2 N2 D"]:
    """The weighted prompts as tokens of their own, before the last `kept` of `tokens`; earlier ones are replaced."""
    weighted = (weights[:, :, None] * prompts).expand(len(tokens), -1, -1)
    return torch.cat([weighted.to(tokens.dtype), tokens[:, -kept:]], dim=1)
