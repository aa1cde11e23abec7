"""A condition: the content that each sample of a batch should have, such as a class."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Condition(NamedTuple):
    """Tensors with one row for each sample: its `label`, or a backbone's null label.

    Data yield it, backbones consume it, guidance nulls it. Only this file, label data and backbones know its tensors.
    """

    label: Int[Tensor, " B"]

    @property
    def rows(self) -> int:
        """B, the number of samples."""
        return len(self.label)

    def take(self, numbers: Sequence[int] | slice) -> "Condition":
        """The conditions of these samples: of number n that of row n modulo B, or the rows of a slice."""
        if isinstance(numbers, slice):
            return self._each(lambda tensor: tensor[numbers])
        chosen = torch.tensor([number % self.rows for number in numbers], dtype=torch.long)
        return self._each(lambda tensor: tensor[chosen.to(tensor.device)])

    def drop(self, where: Bool[Tensor, " B"], null: "Condition") -> "Condition":
        """The same with the `null` condition, of one row, `where` it says so."""
        pairs = zip(self, null.to(where.device), strict=True)
        return Condition(*(torch.where(where.view(-1, *[1] * (each.ndim - 1)), none, each) for each, none in pairs))

    def repeat(self, count: int) -> "Condition":
        """One row, `count` times."""
        return self._each(lambda tensor: tensor.expand(count, *tensor.shape[1:]))

    def join(self, other: "Condition") -> "Condition":
        """The rows of both, the `other`'s last."""
        return Condition(*(torch.cat(pair) for pair in zip(self, other, strict=True)))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Condition":
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def name(self, number: int) -> str:
        """The condition of sample `number`, see `take`, as part of a file's name."""
        return f"class-{int(self.label[number % self.rows])}"

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        return Condition(*map(change, self))
