"""The interface of all methods: they choose the parameters to train, and change the tokens that enter a block."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from dmp_lightning.backbones import Addition, Backbone, Embeddings, Enter, Place, Site
from dmp_lightning.condition import Condition
from dmp_lightning.user_error import UserError


class Prediction(NamedTuple):
    """`output` (B, 2C, H, W) of the model, and `auxiliary`, weighted scalar losses to add to the objective's."""

    output: Float[Tensor, "B C2 H W"]
    auxiliary: dict[str, Float[Tensor, ""]]


class Method(nn.Module):
    """A backbone and what is trained on it.

    A subclass says in `group` which parameters it trains; freezing, saving and the optimiser all follow from that.
    In `prepare` and `enter` it changes the tokens.
    """

    label: str
    """Its name in tables."""
    noise_shape: tuple[int, int] | None = None
    """Shape of the standard normal noise that one sample takes in training, or None."""
    prompt_count: int | None = None
    """P, how many prompts a block has, or None where the method has no prompts."""
    training_only: frozenset[str] = frozenset()
    """Parameters that are trained, but of no use afterwards: they are in checkpoints, not in what is exported."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.freeze()

    def group(self, name: str) -> str | None:
        """The learning-rate group of the parameter `name`, or None where it stays as it is."""
        raise NotImplementedError

    def prepare(self, t: Num[Tensor, " B"], embeddings: Embeddings, noise: Float[Tensor, "L B P"] | None) -> Any:
        """A value for `enter` and `auxiliary`, from a batch at timesteps `t`; called once in each pass."""

    def enter(self, tokens: Float[Tensor, "B N D"], block: int, prepared: Any) -> Float[Tensor, "B N2 D"]:
        """The tokens as they enter the block of that index; others before them need `backbone.takes_more_tokens`."""
        return tokens

    def additions(self, prepared: Any, places: Sequence[Place]) -> Sequence[Addition | None] | None:
        """The additions to the tokens of each site of a model of diffusers, which lie at `places`; None for none."""

    def auxiliary(self, prepared: Any) -> dict[str, Float[Tensor, ""]]:
        """Weighted scalar losses to add to the objective's."""
        return {}

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        t: Num[Tensor, " B"],
        condition: Condition,
        noise: Float[Tensor, "L B P"] | None = None,
    ) -> Prediction:
        """Predict for noisy samples `x` at timesteps `t` under `condition`.

        `noise` is for training only, and so are auxiliary losses: in eval mode there are none.
        """
        this = Pass(self, t, noise)
        output = self.backbone(x, t, condition, this)
        return Prediction(output, self.auxiliary(this.prepared) if self.training else {})

    def freeze(self) -> None:
        """Let exactly the method's own parameters of the backbone take gradients."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(self.group(name) is not None)

    def trained(self) -> dict[str, nn.Parameter]:
        """The method's own parameters by name: what is optimised and what a checkpoint holds."""
        return {name: value for name, value in self.named_parameters() if self.group(name) is not None}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The method's own parameters by learning-rate group."""
        groups: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.trained().items():
            groups.setdefault(str(self.group(name)), []).append(parameter)
        return groups

    def base(self) -> dict[str, Tensor]:
        """The weights of the base that the method stands on, under the names of the public checkpoints."""
        return self.backbone.weights()

    def exported(self) -> dict[str, Tensor]:
        """The tensors that others need to use the result, by name."""
        return {name: value.detach() for name, value in self.trained().items() if name not in self.training_only}

    def scale(self, tensors: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
        """A patch's tensors, as `exported` gives them, made to count `strength` times: 0 is the base, 1 leaves them.

        Raises:
            UserError: the method has nothing that could be scaled so.
        """
        raise UserError(f"strength={strength}: this patch ({self.label}) cannot be scaled, set strength=1.")

    @property
    def size(self) -> int:
        """How many trained parameters the result keeps."""
        return sum(value.numel() for name, value in self.trained().items() if name not in self.training_only)


class Pass:
    """One pass of a backbone under a `method`: the backbone's `enter`, which keeps what was `prepared` to itself.

    Another pass may begin before the gradients of this one are taken.

    Args:
        t, noise: as `Method.forward` takes them. first: another `enter`, which sees the tokens before.
    """

    def __init__(
        self, method: Method, t: Num[Tensor, " B"], noise: Float[Tensor, "L B P"] | None, first: Enter | None = None
    ) -> None:
        self.method, self.t, self.noise, self.first = method, t, noise, first
        self.prepared: Any = None

    def __call__(self, tokens: Float[Tensor, "B N D"], site: Site) -> Float[Tensor, "B N2 D"]:
        if self.first is not None:
            tokens = self.first(tokens, site)
        if site.number == 0:
            self.prepared = self.method.prepare(self.t, site.embeddings, self.noise)
        return self.method.enter(tokens, site.number, self.prepared)

    def additions(
        self, t: Num[Tensor, " B"], e: Float[Tensor, "B E"], places: Sequence[Place]
    ) -> Sequence[Addition | None] | None:
        """The additions to a model of diffusers in this pass, see `backbones.Adapter`."""
        self.prepared = self.method.prepare(self.t, Embeddings(e, torch.zeros_like(e)), self.noise)
        return self.method.additions(self.prepared, places)

    def includes(self, method: Method) -> bool:
        """Whether the pass is already one of `method`."""
        return self.method is method or (isinstance(self.first, Pass) and self.first.includes(method))
