"""Prompts of models whose sites, or whose pictures, have tokens of more than one number: a grid of prompts a site."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dmp_lightning.prompts.gate import Gate
from dmp_lightning.prompts.placement import Grid
from dmp_lightning.prompts.pool import Mixture, Prompts, initial_prompts, injected_blocks
from dmp_lightning.prompts.spread import Place, Spread, WeightedPrompts, pooled, spread
from dmp_lightning.user_error import UserError


class GridsOfPrompts(Prompts):
    """Prompts on a grid that lies over the picture: `x <- x + gate(e, i) * prompts[i]`, bilinear between its cells.

    The tokens of a pass may be any number. Where a pass has the grid of the prompts, each prompt serves one token, as
    in the paper (arXiv 2405.17825, equation 3).

    Args:
        gate: builds the gate from `width`, the size of the conditioning, and `prompts`, the cells of `grid`.
        embedding: the size of the conditioning. widths: D of each site, in running order.
        grid: rows and columns of the prompts. finest: rows and columns of the tokens of each site in a picture of the
            usual size, or None where there is none; a site with fewer tokens than `grid` has as many prompts as tokens,
            and the weights of the regions of the others.
        injection: which sites get prompts, see `injected_blocks`. init: see `initial_prompts`.

    Raises:
        UserError: `injection` or `init` is unknown, or the grid is finer than the tokens of all sites.
    """

    def __init__(
        self,
        gate: Callable[..., Gate],
        embedding: int,
        widths: Sequence[int],
        grid: Grid,
        finest: Sequence[Grid | None],
        injection: str | Sequence[int] = "all",
        init: str = "zero",
    ) -> None:
        super().__init__()
        rows, columns = grid
        if not any(tokens is None or (rows <= tokens[0] and columns <= tokens[1]) for tokens in finest):
            most = max(tokens for tokens in finest if tokens is not None)
            raise UserError(
                f"grid={rows}x{columns} is finer than the tokens of this base, {most[0]}x{most[1]}: choose up to that."
            )
        self.grid, self.count = grid, rows * columns
        self.blocks = injected_blocks(injection, len(widths))
        self.cells_by_site = [self._cells(finest[block]) for block in self.blocks]
        shapes = [
            (cells[0] * cells[1], widths[block]) for cells, block in zip(self.cells_by_site, self.blocks, strict=True)
        ]
        self.prompts: nn.Parameter | nn.ParameterList
        if len(set(shapes)) == 1:
            self.prompts = initial_prompts(init, len(shapes), *shapes[0])
        else:
            self.prompts = nn.ParameterList(initial_prompts(init, 1, *shape).data[0] for shape in shapes)
        self.gate = gate(width=embedding, prompts=self.count)

    def _cells(self, tokens: Grid | None) -> Grid:
        return self.grid if tokens is None else (min(self.grid[0], tokens[0]), min(self.grid[1], tokens[1]))

    @property
    def cells(self) -> Grid:
        """Rows and columns of the prompts on the picture."""
        return self.grid

    def norms(self) -> Float[Tensor, "L P"]:
        """The length of each prompt; where a site has fewer than the grid, of the one at that place."""
        lengths = [prompts.detach().float().norm(dim=-1) for prompts in self.each()]
        planes = (each.view(1, 1, *cells) for each, cells in zip(lengths, self.cells_by_site, strict=True))
        return torch.cat([F.interpolate(plane, self.grid).flatten(1) for plane in planes])

    def each(self) -> tuple[Float[Tensor, "P2 D2"], ...]:
        return self.prompts.unbind() if isinstance(self.prompts, nn.Parameter) else tuple(self.prompts)

    def weighted(self, mixture: Mixture, places: Sequence[Place]) -> list[WeightedPrompts | None]:
        """The addition to the tokens of each site, which lie at `places`; None where nothing is injected."""
        added: list[WeightedPrompts | None] = [None] * len(places)
        device = mixture.gates.weights.device
        matrices: dict[tuple[tuple[int, int, int] | None, Grid], Spread] = {}
        total = self.gate.weight_scale == "sum"
        for block, cells, weights, prompts in zip(
            self.blocks, self.cells_by_site, mixture.gates.weights, mixture.prompts, strict=True
        ):
            place = places[block]
            key = place if isinstance(place, tuple) else None, cells  # a tensor is the place of all sites
            if key not in matrices:
                matrices[key] = spread(place, cells, device)
            added[block] = WeightedPrompts(pooled(weights, self.grid, cells, total), prompts, cells, matrices[key])
        return added
