"""The interface of a backbone: a model that can be patched, and that owns its forward pass."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dmp_lightning.condition import Condition


class Embeddings(NamedTuple):
    """The embeddings that steer the blocks, and that a gate may see: each (B, D)."""

    timestep: Float[Tensor, "B D"]
    label: Float[Tensor, "B D"]


class Site(NamedTuple):
    """Where tokens are about to enter a block: its `number` in running order, and the `embeddings` of this pass."""

    number: int
    embeddings: Embeddings


Enter = Callable[[Float[Tensor, "B N D"], Site], Float[Tensor, "B N2 D"]]
"""`enter(tokens, site)` gives the tokens that the block takes in their place."""


class Backbone(nn.Module):
    """A diffusion transformer. Before each of its blocks it hands the tokens (B, T, D) to `enter`, if it is given one.

    A subclass writes `embed` and `forward`, and sets what stands below. What a pass knows, it hands on as arguments:
    nothing of a pass may be kept on the module, because activation checkpointing runs blocks again later.
    """

    blocks: nn.ModuleList
    width: int
    grid: tuple[int, int]
    """(rows, columns) of the tokens on the picture."""
    sample_shape: tuple[int, int, int]
    """(C, H, W) of `x`."""
    num_classes: int
    null_label: int | None
    """The label that stands for none, where the model was trained with one."""
    class_dropout_prob: float
    """How often training takes the null condition."""
    predicts: str | None = None
    """The output, as `diffusion.process.Process.predicts` has it: `epsilon_and_variance`, `epsilon`, `v` or `velocity`;
    None where nobody knows."""
    takes_more_tokens = False
    """Whether `enter` may put tokens before those of the backbone, which drops them after the last block."""
    fixed: frozenset[str] = frozenset()
    """Names of parameters that are not weights: no method trains them."""
    modulation: tuple[str, ...] = ()
    """Parts of the names of those layers that make shifts, scales and gates of the embeddings."""
    prefix = ""
    """Comes before the names of the public checkpoints in the names of parameters."""
    attached_patches: tuple[Any, ...] = ()
    """The patches that were attached to it in Python, see `dmp_lightning.attach`."""
    activation_checkpointing = False
    """Keep only the tokens that enter each block, and compute the block again in the backward pass."""

    @property
    def depth(self) -> int:
        """L, the number of blocks."""
        return len(self.blocks)

    @property
    def embedding_width(self) -> int:
        """The size of the timestep embedding."""
        return self.width

    @property
    def tokens(self) -> int:
        """T, the number of tokens."""
        return self.grid[0] * self.grid[1]

    def conditions(self) -> Condition:
        """All conditions that the model knows, one row each, in order."""
        return Condition(torch.arange(self.num_classes))

    def null_condition(self) -> Condition | None:
        """The condition that stands for none, one row, where the model was trained with one."""
        return None if self.null_label is None else Condition(torch.tensor([self.null_label]))

    def known(self, condition: Condition) -> Condition:
        """The condition of data as the model knows it: where it has one class, that is each sample's."""
        if self.num_classes > 1:
            return condition
        return Condition(torch.zeros(condition.rows, dtype=torch.long, device=condition.device))

    def weights(self) -> dict[str, Tensor]:
        """All weights, under the names of the public checkpoints."""
        return self.state_dict()

    def adapted(self) -> nn.Module:
        """The part whose linear layers may get adapters."""
        return self.blocks

    def embed(self, t: Num[Tensor, " B"], condition: Condition) -> Embeddings:
        """The embeddings of timesteps `t` under `condition`, as a pass computes them."""
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        t: Num[Tensor, " B"],
        condition: Condition,
        enter: Enter | None = None,
    ) -> Float[Tensor, "B C2 H W"]:
        """Output for noisy samples `x` at timesteps `t` under `condition`."""
        raise NotImplementedError

    def precision(self, device: torch.device) -> AbstractContextManager:
        """The precision of a pass: bfloat16 if the blocks' weights are bfloat16, else the caller's choice."""
        if next(self.blocks.parameters()).dtype != torch.bfloat16:
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)

    def run(self, block: nn.Module, *inputs: Any) -> Any:
        """`block(*inputs)`; with activation checkpointing, in training, nothing but the inputs is kept."""
        if not (self.activation_checkpointing and self.training):
            return block(*inputs)
        # Blocks draw nothing at random, so there is no state of a generator to put back.
        return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
