"""Diffusion Model Patching: a frozen backbone with a mixture of prompts (arXiv 2405.17825)."""

from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from dmp_lightning.backbones import Backbone, Conditioning
from dmp_lightning.methods.base import Method
from dmp_lightning.prompts import LinearGate, Mixture, MixtureOfPrompts, balance_losses


class DMP(Method):
    """Prompts enter the tokens before the blocks, weighed by a gate that knows the denoising step.

    Args:
        backbone: the pre-trained model; it stays frozen.
        gate: builds the gate from `width` and `prompts`.
        balance: weights of the balance losses, `importance` and `load`.
        injection: the blocks that get prompts, see `prompts.injected_blocks`.
        prompt_count: P, the prompts of a block; None for one a token (the paper), see `prompts.placement.mix`.
        condition: what the gate sees, `timestep` (the paper) or `timestep_and_label` (the authors' release).

    Raises:
        ValueError: `condition` is unknown, or an argument does not fit the backbone.
    """

    label = "mixture of prompts (DMP)"

    def __init__(
        self,
        backbone: Backbone,
        gate: Callable[..., LinearGate],
        balance: Mapping[str, float],
        injection: str | Sequence[int] = "all",
        prompt_count: int | None = None,
        condition: str = "timestep",
    ) -> None:
        super().__init__(backbone)
        if condition not in ("timestep", "timestep_and_label"):
            raise ValueError(f"method.condition={condition!r} is unknown: choose timestep or timestep_and_label.")
        self.condition = condition
        self.balance = dict(balance)
        self.mixture = MixtureOfPrompts(
            gate, len(backbone.blocks), backbone.width, backbone.tokens, injection, prompt_count
        )
        self.noise_shape = self.mixture.noise_shape
        self.training_only = frozenset(f"mixture.{name}" for name in self.mixture.training_only)

    def group(self, name: str) -> str | None:
        if name.startswith("mixture.gate."):
            return "gate"
        return "prompts" if name.startswith("mixture.") else None

    def prepare(self, conditioning: Conditioning, noise: Float[Tensor, "L B P"] | None) -> Mixture:
        seen = conditioning.timestep if self.condition == "timestep" else conditioning.timestep + conditioning.label
        return self.mixture.weigh(seen, noise)

    def enter(self, tokens: Float[Tensor, "B T D"], block: int, prepared: Mixture) -> Float[Tensor, "B T D"]:
        return self.mixture.inject(tokens, block, prepared)

    def scale(self, tensors: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
        return tensors | {"mixture.prompts": strength * tensors["mixture.prompts"]}

    def auxiliary(self, prepared: Mixture) -> dict[str, Float[Tensor, ""]]:
        return {name: self.balance[name] * loss for name, loss in balance_losses(prepared.gates).items()}
