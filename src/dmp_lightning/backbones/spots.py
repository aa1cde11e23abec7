"""Where additions to the tokens enter a block of somebody else's model, and how they are kept for one pass."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dmp_lightning.user_error import UserError

Addition = Callable[[Float[Tensor, "B T D"]], Float[Tensor, "B T D"]]
"""Adds to the picture's tokens."""


@dataclass(frozen=True, slots=True)
class Entering:
    """The additions to one block's tokens in one pass; called with the tokens, it gives those that enter the block.

    Args:
        additions: in order. count: T, the tokens of the picture. image: where they stand among others, `first`, `last`,
            or the number of the first of each sample, (B,).
    """

    additions: tuple[Addition, ...]
    count: int
    image: str | Tensor

    def __call__(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        if isinstance(self.image, Tensor):
            index = (self.image[:, None] + torch.arange(self.count, device=tokens.device))[:, :, None].expand(
                -1, -1, tokens.shape[2]
            )
            return tokens.scatter(1, index, self._add(tokens.gather(1, index)))
        others = tokens.shape[1] - self.count
        if others == 0:
            return self._add(tokens)
        if others < 0:
            raise UserError(
                f"A block got {tokens.shape[1]} tokens, where the picture has {self.count}: its family does not say "
                "right where the tokens are."
            )
        if self.image == "first":
            return torch.cat([self._add(tokens[:, : self.count]), tokens[:, self.count :]], 1)
        return torch.cat([tokens[:, :others], self._add(tokens[:, others:])], 1)

    def _add(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        for addition in self.additions:
            tokens = addition(tokens)
        return tokens


class Spot:
    """A block's place for what is `entering` in this pass.

    Args:
        own: the forward of the block's class. ours: what stands in its place.
    """

    def __init__(self, own: Callable[..., Any], ours: Callable[..., Any]) -> None:
        self.own, self.ours = own, ours
        self.tokens = list(inspect.signature(own).parameters)[1]
        self.entering: Entering | None = None


class KeepsPass:
    """A model's function for activation checkpointing, which hands on what enters the block with the block."""

    def __init__(self, checkpoint: Callable[..., Any]) -> None:
        self.checkpoint = checkpoint

    def __call__(self, block: nn.Module, *args: Any) -> Any:
        return self.checkpoint(partial(block, dmp_entering=_spot(block).entering), *args)


def put_on(blocks: nn.ModuleList) -> list[Spot]:
    """Let `Entering` at the tokens of the blocks.

    A function that all blocks share takes the place of their forward. A hook of torch would run also where a cache of
    diffusers, enabled later, skips the block; and compiled blocks would recompile one by one, because each hook has a
    number of its own.

    Raises:
        UserError: somebody else's hook already stands there, as a cache or offloading puts them.
    """
    if not all(_is_own(block, vars(block).get("forward")) for block in blocks):
        raise UserError(
            "The model's blocks have hooks, of a cache or of offloading: put patches on first, and enable them then."
        )
    for block in blocks:
        forward = partial(_forward, block)
        block.dmp_spot, block.forward = Spot(type(block).forward, forward), forward  # type: ignore[assignment]
    return [_spot(block) for block in blocks]


def _is_own(block: nn.Module, forward: Any) -> bool:
    """Whether it is the forward of the block's class; one that was taken off by diffusers leaves that on the block."""
    return forward is None or getattr(forward, "__func__", None) is type(block).forward


def take_off(blocks: nn.ModuleList) -> None:
    """Give the blocks back the forward that they had, also under hooks that were put there since.

    Raises:
        UserError: there are other hooks than those of diffusers.
    """
    for block in blocks:
        ours, own = _spot(block).ours, MethodType(_spot(block).own, block)
        if vars(block)["forward"] is ours:
            del block.forward
        else:
            wrapping = getattr(getattr(block, "_diffusers_hook", None), "_fn_refs", ())
            within = [(ref, name) for ref in wrapping for name in ("forward", "original_forward")]
            within = [(ref, name) for ref, name in within if getattr(ref, name) is ours]
            if not within:
                raise UserError("The model's blocks have hooks of others: take them off first, and then the patch.")
            for ref, name in within:
                setattr(ref, name, own)
        del block.dmp_spot


def _spot(block: nn.Module) -> Spot:
    return block.dmp_spot  # type: ignore[return-value]


def _forward(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The block's forward, on the tokens with what enters there."""
    spot = _spot(block)
    entering = kwargs.pop("dmp_entering") if "dmp_entering" in kwargs else spot.entering
    if entering is not None:
        if args:
            args = (entering(args[0]), *args[1:])
        else:
            kwargs[spot.tokens] = entering(kwargs[spot.tokens])
    return spot.own(block, *args, **kwargs)
