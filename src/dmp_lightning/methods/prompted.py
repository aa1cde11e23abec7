"""What the methods that train prompts share."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from dmp_lightning.backbones import Backbone
from dmp_lightning.methods.base import Method
from dmp_lightning.prompts import Gate, Mixture, MixtureOfPrompts


class Prompted(Method):
    """A frozen backbone with a `MixtureOfPrompts`, whose arguments it takes; a subclass says what the gate sees."""

    def __init__(
        self,
        backbone: Backbone,
        gate: Callable[..., Gate],
        injection: str | Sequence[int],
        prompt_count: int | str | None,
        position: str,
        init: str,
    ) -> None:
        super().__init__(backbone)
        self.mixture = MixtureOfPrompts(
            gate, len(backbone.blocks), backbone.width, backbone.tokens, injection, prompt_count, position, init
        )
        self.noise_shape = self.mixture.noise_shape
        self.prompt_count = self.mixture.prompts.shape[1]
        self.training_only = frozenset(f"mixture.{name}" for name in self.mixture.training_only)

    def group(self, name: str) -> str | None:
        if name.startswith("mixture.gate."):
            return "gate"
        return "prompts" if name.startswith("mixture.") else None

    def enter(self, tokens: Float[Tensor, "B N D"], block: int, prepared: Mixture) -> Float[Tensor, "B N2 D"]:
        return self.mixture.inject(tokens, block, prepared)

    def leave(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B T D"]:
        return self.mixture.leave(tokens)

    def scale(self, tensors: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
        if self.mixture.position == "prepend":  # at 0 its tokens would still take attention
            return super().scale(tensors, strength)
        return tensors | {"mixture.prompts": strength * tensors["mixture.prompts"]}
