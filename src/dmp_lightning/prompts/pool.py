"""The pool of prompts, and where its mixture enters the tokens (arXiv 2405.17825, equation 3)."""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dmp_lightning.prompts.gate import Gate, Gates
from dmp_lightning.prompts.placement import Grid, counted, fitting_count, mix, prepend, prepended_count, regions
from dmp_lightning.user_error import UserError

NORMAL_STD = 0.02  # as transformers' embeddings start


class Mixture(NamedTuple):
    """The mixture that enters the injected blocks for a batch: `gates`, and the `prompts` of each block, (P, D).

    The prompts are taken apart once for all blocks: where each block indexes them, autograd fills a gradient of all of
    them for each block.
    """

    gates: Gates
    prompts: tuple[Float[Tensor, "P2 D2"], ...]


class Prompts(nn.Module):
    """The prompts of the injected `blocks`, and the gate that weighs the `count` of them that a block has."""

    position = "add"
    blocks: list[int]
    count: int
    gate: Gate

    @property
    def noise_shape(self) -> tuple[int, int] | None:
        """(injected blocks, P): the standard normal noise that one sample's gates take in training, if any."""
        return (len(self.blocks), self.count) if self.gate.noisy else None

    @property
    def training_only(self) -> tuple[str, ...]:
        """Parameters that are of no use after training."""
        return tuple(f"gate.{name}" for name in self.gate.training_only)

    def each(self) -> tuple[Float[Tensor, "P2 D2"], ...]:
        """The prompts of each injected block."""
        raise NotImplementedError

    def norms(self) -> Float[Tensor, "L P"]:
        """The length of each prompt."""
        return torch.stack([prompts.detach().float().norm(dim=-1) for prompts in self.each()])

    def weigh(self, e: Float[Tensor, "B D"], noise: Float[Tensor, "L B P"] | None = None) -> Mixture:
        """Weigh the prompts under the conditioning `e`; `noise` as the gate takes it, in training only."""
        gates = self.gate(e, torch.tensor(self.blocks, dtype=e.dtype, device=e.device), noise)
        return Mixture(gates, self.each())


class MixtureOfPrompts(Prompts):
    """Prompts for the tokens that enter each injected block: `x <- x + gate(e, i) * prompts[i]`.

    Args:
        gate: builds the gate from `width` and `prompts`.
        depth: L, the number of blocks of the base. width: D. grid: rows and columns of its T tokens.
        injection: which blocks get prompts, see `injected_blocks`.
        prompt_count: P, the prompts of a block, or with a decimal point a share of the T tokens (0.25, 2.0); None for
            one a token. See `placement.mix` for whom they serve.
        position: `add` (the paper), or `prepend`: P tokens before the others, replaced at each injected block (Jia et
            al. 2022, arXiv 2203.12119, "deep"); P may then be any number.
        init: what the prompts start from, see `initial_prompts`. With `zero` and `add` the patched model
            starts as the base, exactly; prepended tokens take attention, whatever they hold.

    Raises:
        UserError: `injection` or `prompt_count` does not fit the base, or `position` or `init` is unknown.
    """

    def __init__(
        self,
        gate: Callable[..., Gate],
        depth: int,
        width: int,
        grid: Grid,
        injection: str | Sequence[int] = "all",
        prompt_count: int | float | None = None,
        position: str = "add",
        init: str = "zero",
    ) -> None:
        super().__init__()
        if position not in ("add", "prepend"):
            raise UserError(f"method.position={position!r} is unknown: choose add or prepend.")
        self.position, self.grid, self.tokens = position, grid, grid[0] * grid[1]
        self.blocks = injected_blocks(injection, depth)
        wanted = counted(prompt_count, self.tokens)
        self.count = fitting_count(wanted, grid) if position == "add" else prepended_count(wanted, self.tokens)
        self.prompts = initial_prompts(init, len(self.blocks), self.count, width)
        self.gate = gate(width=width, prompts=self.count)

    @property
    def cells(self) -> Grid | None:
        """Rows and columns of the prompts on the picture, several at one place counted once; None where prepended."""
        return regions(self.grid)[min(self.count, self.tokens)] if self.position == "add" else None

    def each(self) -> tuple[Float[Tensor, "P D"], ...]:
        return self.prompts.unbind()

    def inject(self, tokens: Float[Tensor, "B N D"], block: int, mixture: Mixture) -> Float[Tensor, "B N2 D"]:
        """Tokens as they enter `block`: with its weighted prompts, or as they are where it has none."""
        if block not in self.blocks:
            return tokens
        row = self.blocks.index(block)
        weights, prompts = mixture.gates.weights[row], mixture.prompts[row]
        if self.position == "prepend":
            return prepend(weights, prompts, tokens, self.tokens)
        return tokens + mix(weights, prompts, self.grid)


def injected_blocks(injection: str | Sequence[int], depth: int) -> list[int]:
    """Indices of the blocks that get prompts: `all`, `first:n`, `last:n`, `every:n`, or a list of indices.

    The first and last may be a share of the `depth`, `first:1/2`, which is rounded, and at least one block.

    Raises:
        UserError: the text is none of these, or it names a block that a base of `depth` blocks does not have.
    """
    if not isinstance(injection, str):
        chosen = sorted(set(injection))
        if not chosen or chosen[0] < 0 or chosen[-1] >= depth:
            raise UserError(f"method.injection={list(injection)}: name blocks from 0 to {depth - 1}, at least one.")
        return chosen
    kind, _, count = injection.partition(":")
    if injection == "all":
        return list(range(depth))
    if kind in ("first", "last") and re.fullmatch(r"[1-9]\d*/[1-9]\d*", count):
        count = str(max(round(Fraction(count) * depth), 1))
    if kind not in ("first", "last", "every") or not count.isdigit():
        raise UserError(
            f"method.injection={injection!r}: choose all, first:n, last:n, every:n, or a list of block indices."
        )
    if not 1 <= int(count) <= depth:
        raise UserError(f"method.injection={injection!r}: this base has {depth} blocks, so n goes from 1 to {depth}.")
    n = int(count)
    return {"first": list(range(n)), "last": list(range(depth - n, depth)), "every": list(range(0, depth, n))}[kind]


def initial_prompts(init: str, blocks: int, prompts: int, width: int) -> nn.Parameter:
    """Prompts (blocks, P, D): `zero` (the paper: the patch starts as the base), `normal` (deviation 0.02), or `xavier`.

    `xavier` is uniform as for a matrix of P x D in each block (Glorot and Bengio 2010). Both draw from torch's global
    generator.

    Raises:
        UserError: there is no such initialisation.
    """
    values = torch.zeros(blocks, prompts, width)
    if init == "normal":
        nn.init.normal_(values, std=NORMAL_STD)
    elif init == "xavier":
        for block in values:
            nn.init.xavier_uniform_(block)
    elif init != "zero":
        raise UserError(f"method.init={init!r} is unknown: choose zero, normal or xavier.")
    return nn.Parameter(values)
