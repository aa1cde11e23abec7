"""Diffusion Model Patching: a frozen backbone with a mixture of prompts (arXiv 2405.17825)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Num
from torch import Tensor

from dmp_lightning.backbones import Adapter, Backbone, Embeddings, Place
from dmp_lightning.condition import Condition
from dmp_lightning.methods.base import Method
from dmp_lightning.prompts import (
    Gate,
    Gates,
    GridsOfPrompts,
    Mixture,
    MixtureOfPrompts,
    WeightedPrompts,
    balance_losses,
    noise_level_embedding,
    released_balance_losses,
)
from dmp_lightning.user_error import UserError

CONDITIONS = ("timestep", "timestep_and_label", "log_snr")
LOSSES = {"importance", "load"}


@runtime_checkable
class KnowsNoise(Protocol):
    """A diffusion process, as far as a gate may look into it."""

    def log_snr(self, t: Num[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The logarithm of the signal-to-noise ratio at times `t`, in float32."""


class DMP(Method):
    """Prompts enter the tokens before the blocks, weighed by a gate that knows the denoising step.

    Args:
        backbone: the pre-trained model; it stays frozen.
        gate: builds the gate from `width` and `prompts`.
        balance: weights of the balance losses, `importance` and `load`; or `released`, the authors' release, which
            adds up the importance over the blocks first.
        injection: the blocks that get prompts, see `prompts.injected_blocks`.
        prompt_count, position, init: how many prompts, where they go, and what they start from, see
            `prompts.MixtureOfPrompts`.
        grid: rows and columns of the prompts, of a model of diffusers, see `prompts.GridsOfPrompts`; it takes no
            `prompt_count`.
        condition: what the gate sees: `timestep`, the base's embedding of it (the paper); `timestep_and_label`, plus
            that of the label (the authors' release); `log_snr`, an embedding of the noise level.
        process: says the log SNR of a time, which `log_snr` needs.

    Raises:
        UserError: `condition` or `balance` is none of these, or an argument does not fit the backbone.
    """

    label = "mixture of prompts (DMP)"
    strength: int | float = 1
    """How many times the prompts count."""

    def __init__(
        self,
        backbone: Backbone,
        gate: Callable[..., Gate],
        balance: Mapping[str, float] | str,
        injection: str | Sequence[int] = "all",
        prompt_count: int | float | None = None,
        position: str = "add",
        init: str = "zero",
        condition: str = "timestep",
        process: KnowsNoise | None = None,
        grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__(backbone)
        if position == "prepend" and not backbone.takes_more_tokens:
            raise UserError("method.position=prepend: this base takes no extra tokens. Set method.position=add.")
        if isinstance(backbone, Adapter) != (grid is not None) or (grid is not None and prompt_count is not None):
            raise UserError(
                "A model of diffusers takes method.grid, the rows and columns of prompts; a DiT takes "
                "method.prompt_count."
            )
        if isinstance(backbone, Adapter) and condition == "timestep_and_label":
            raise UserError(
                f"condition={condition!r} is for a DiT: on a model of diffusers choose timestep or log_snr."
            )
        self.mixture: MixtureOfPrompts | GridsOfPrompts
        if isinstance(backbone, Adapter) and grid is not None:
            rows, columns = grid
            self.mixture = GridsOfPrompts(
                gate,
                backbone.embedding_width,
                backbone.widths(),
                (rows, columns),
                backbone.usual_grids(),
                injection,
                init,
            )
        else:
            self.mixture = MixtureOfPrompts(
                gate, backbone.depth, backbone.width, backbone.grid, injection, prompt_count, position, init
            )
        self.noise_shape = self.mixture.noise_shape
        self.prompt_count = self.mixture.count
        self.training_only = frozenset(f"mixture.{name}" for name in self.mixture.training_only)
        if condition not in CONDITIONS:
            raise UserError(f"method.condition={condition!r} is unknown: choose {', '.join(CONDITIONS)}.")
        self.condition = condition
        self.balance = checked_balance(balance)
        if condition == "log_snr" and process is None:
            raise UserError("method.condition=log_snr needs the diffusion process: set method.process.")
        self.process = process

    def group(self, name: str) -> str | None:
        if name.startswith("mixture.gate."):
            return "gate"
        return "prompts" if name.startswith("mixture.") else None

    def prepare(self, t: Num[Tensor, " B"], embeddings: Embeddings, noise: Float[Tensor, "L B P"] | None) -> Mixture:
        mixture = self.mixture.weigh(self._seen(t, embeddings), noise)
        if self.strength == 1:
            return mixture
        return mixture._replace(prompts=tuple(self.strength * prompts for prompts in mixture.prompts))

    def _seen(self, t: Num[Tensor, " B"], embeddings: Embeddings) -> Float[Tensor, "B D"]:
        seen = embeddings.timestep
        dtype = seen.dtype
        if isinstance(self.mixture, GridsOfPrompts):  # which is in float32 on a base of any type
            dtype = next(self.mixture.parameters()).dtype
        if self.condition == "log_snr":
            assert self.process is not None
            seen = noise_level_embedding(self.process.log_snr(t), self.backbone.embedding_width)
        elif self.condition == "timestep_and_label":
            seen = seen + embeddings.label
        return seen.to(dtype)

    def enter(self, tokens: Float[Tensor, "B N D"], block: int, prepared: Mixture) -> Float[Tensor, "B N2 D"]:
        assert isinstance(self.mixture, MixtureOfPrompts)
        return self.mixture.inject(tokens, block, prepared)

    def additions(self, prepared: Mixture, places: Sequence[Place]) -> list[WeightedPrompts | None]:
        """The additions to the tokens of each site of a model of diffusers, which lie at `places`."""
        assert isinstance(self.mixture, GridsOfPrompts)
        return self.mixture.weighted(prepared, places)

    def auxiliary(self, prepared: Mixture) -> dict[str, Float[Tensor, ""]]:
        if isinstance(self.balance, str):
            return released_balance_losses(prepared.gates)
        return {name: self.balance[name] * loss for name, loss in balance_losses(prepared.gates).items()}

    def scale(self, tensors: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
        if self.mixture.position == "prepend":  # at 0 its tokens would still take attention
            return super().scale(tensors, strength)
        return {
            name: strength * value if name.startswith("mixture.prompts") else value for name, value in tensors.items()
        }

    @torch.no_grad()
    def gates(self, t: Num[Tensor, " B"], condition: Condition) -> Gates | None:
        """The gate's weights at timesteps `t` under `condition`, without noise; None where nothing is gated."""
        with self.backbone.precision(t.device):
            return self.prepare(t, self.backbone.embed(t, condition), None).gates


def checked_balance(balance: Mapping[str, float] | str) -> dict[str, float] | str:
    """`balance` as `DMP` takes it.

    Raises:
        UserError: it is something else.
    """
    if isinstance(balance, str) and balance == "released":
        return balance
    if isinstance(balance, Mapping) and balance.keys() == LOSSES and all(map(is_weight, balance.values())):
        return dict(balance)
    raise UserError(f"method.balance={balance}: choose released, or weights of importance and load, each 0 or more.")


def is_weight(value: object) -> bool:
    """Whether a loss can be weighed by it: a negative weight would reward what the loss is against."""
    return isinstance(value, int | float) and 0 <= value < float("inf")
