"""The interface of all methods: what they train, and how they stand between the steps of a backbone."""

from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from dmp_lightning.backbones import Backbone, Conditioning


class Prediction(NamedTuple):
    """`output` (B, 2C, H, W) of the model, and `auxiliary`, weighted scalar losses to add to the objective's."""

    output: Float[Tensor, "B C2 H W"]
    auxiliary: dict[str, Float[Tensor, ""]]


class Method(nn.Module):
    """A backbone and what is trained on it.

    A subclass says in `group` which parameters it trains; freezing, saving and the optimiser all follow from that.
    What it does to the tokens it says in `prepare` and `enter`. What it builds itself is trained by default.
    """

    label: str
    """What is done to the base, as a table says it."""
    noise_shape: tuple[int, int] | None = None
    """Shape of the standard normal noise that one sample takes in training, or None."""
    training_only: frozenset[str] = frozenset()
    """Parameters that are trained, but of no use afterwards: they are in checkpoints, not in what is exported."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.freeze()

    def group(self, name: str) -> str | None:
        """The learning-rate group of the parameter `name`, or None where it stays as it is."""
        raise NotImplementedError

    def prepare(self, conditioning: Conditioning, noise: Float[Tensor, "L B P"] | None) -> Any:
        """What `enter` and `auxiliary` need to know of a batch."""

    def enter(self, tokens: Float[Tensor, "B T D"], block: int, prepared: Any) -> Float[Tensor, "B T D"]:
        """The tokens as they enter the block of that index."""
        return tokens

    def auxiliary(self, prepared: Any) -> dict[str, Float[Tensor, ""]]:
        """Weighted scalar losses to add to the objective's."""
        return {}

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        t: Int[Tensor, " B"],
        y: Int[Tensor, " B"],
        noise: Float[Tensor, "L B P"] | None = None,
    ) -> Prediction:
        """Predict for noisy samples `x` at timesteps `t` with labels `y`.

        `noise` is for training only, and so are auxiliary losses: in eval mode there are none.
        """
        tokens, conditioning = self.backbone.embed(x, t, y)
        prepared = self.prepare(conditioning, noise)
        for index, block in enumerate(self.backbone.blocks):
            tokens = block(self.enter(tokens, index, prepared), conditioning)
        output = self.backbone.unembed(tokens, conditioning)
        return Prediction(output, self.auxiliary(prepared) if self.training else {})

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

    def exported(self) -> dict[str, Tensor]:
        """What others need to use the result, by name."""
        return {name: value.detach() for name, value in self.trained().items() if name not in self.training_only}

    @property
    def size(self) -> int:
        """How many trained parameters the result keeps."""
        return sum(value.numel() for name, value in self.trained().items() if name not in self.training_only)
