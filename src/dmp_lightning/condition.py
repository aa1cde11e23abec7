"""A condition: the content that each sample of a batch should have, such as a class or a text."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Condition(NamedTuple):
    """Tensors with one row for each sample: its `label`, or a backbone's null label; or the states of its text.

    Data yield it, backbones consume it, guidance nulls it. Only this file, data and backbones know its tensors. Those
    that a backbone does not take are None.

    Args:
        text: states of the tokens, `mask`: which of them are there, `pooled`: one vector for the whole text.
        text2, mask2: of a second text encoder, where its states do not stand beside those of the first.
    """

    label: Int[Tensor, " B"] | None = None
    text: Float[Tensor, "B N D"] | None = None
    mask: Bool[Tensor, "B N"] | None = None
    pooled: Float[Tensor, "B E"] | None = None
    text2: Float[Tensor, "B N2 D2"] | None = None
    mask2: Bool[Tensor, "B N2"] | None = None

    @property
    def rows(self) -> int:
        """B, the number of samples."""
        return len(self._any)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self._any.device

    @property
    def shapes(self) -> dict[str, list[int]]:
        """The shape of one sample's part of each tensor, by name."""
        return {name: list(each.shape[1:]) for name, each in self._asdict().items() if each is not None}

    def take(self, numbers: Sequence[int] | slice) -> "Condition":
        """The conditions of these samples: of number n that of row n modulo B, or the rows of a slice."""
        if isinstance(numbers, slice):
            return self._each(lambda tensor: tensor[numbers])
        chosen = torch.tensor([number % self.rows for number in numbers], dtype=torch.long)
        return self._each(lambda tensor: tensor[chosen.to(tensor.device)])

    def drop(self, where: Bool[Tensor, " B"], null: "Condition") -> "Condition":
        """The same with the `null` condition, of one row, `where` it says so. The shorter texts are padded."""
        return self._both(
            null.to(where.device), lambda each, none: torch.where(where.view(-1, *[1] * (each.ndim - 1)), none, each)
        )

    def repeat(self, count: int) -> "Condition":
        """One row, `count` times."""
        return self._each(lambda tensor: tensor.expand(count, *tensor.shape[1:]))

    def join(self, other: "Condition") -> "Condition":
        """The rows of both, the `other`'s last; the shorter texts are padded."""
        return self._both(other, lambda each, more: torch.cat([each, more]))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Condition":
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def in_type(self, dtype: torch.dtype) -> "Condition":
        """The same with numbers of that type; labels and masks stay as they are."""
        return self._each(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def name(self, number: int) -> str:
        """The condition of sample `number`, see `take`, as part of a file's name."""
        row = number % self.rows
        return f"text-{row}" if self.label is None else f"class-{int(self.label[row])}"

    @property
    def _any(self) -> Tensor:
        return next(each for each in self if each is not None)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        return Condition(*(None if each is None else change(each) for each in self))

    def _both(self, other: "Condition", change: Callable[[Tensor, Tensor], Tensor]) -> "Condition":
        pairs = zip(self, other, strict=True)
        return Condition(*(None if one is None or two is None else change(*_as_long(one, two)) for one, two in pairs))


def _as_long(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """States or masks with as many tokens as the longer ones have: zeros are added, which no mask lets in."""
    if one.ndim == 1 or one.shape[1] == two.shape[1]:
        return one, two
    longest = max(one.shape[1], two.shape[1])
    padded = (
        torch.cat([each, each.new_zeros(len(each), longest - each.shape[1], *each.shape[2:])], 1) for each in (one, two)
    )
    return next(padded), next(padded)
