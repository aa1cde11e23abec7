"""The gates: the paper's, and what it is compared with (arXiv 2405.17825, section 3.2 and its ablations)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dmp_lightning.prompts.gate import Gate, Gates, NoisyGate, total_weight
from dmp_lightning.user_error import UserError

LONGEST, SHORTEST = 64.0, 0.5  # wavelengths in units of log SNR, which goes from about -10 to 10


class LinearGate(NoisyGate):
    """The paper's: `softmax(top_k(Linear([e ; i])))`, one linear map for all blocks, the index `i` enters as a float.

    Everything starts at zero, so that all prompts weigh the same at first. Arguments as `NoisyGate` takes them.
    """

    def __init__(self, width: int, prompts: int, top_k: float = 1.0, weight_scale: str = "sum") -> None:
        super().__init__(width, prompts, top_k, weight_scale)
        self.weight = nn.Parameter(torch.zeros(prompts, width + 1))
        self.bias = nn.Parameter(torch.zeros(prompts))

    def logits(self, e: Float[Tensor, "B D"], blocks: Float[Tensor, " L"]) -> Float[Tensor, "L B P"]:
        return F.linear(e, self.weight[:, :-1], self.bias) + blocks[:, None, None] * self.weight[:, -1]


class HardGate(LinearGate):
    """One prompt a block acts, with all the weight; the gradient is that of the softmax over all (straight-through).

    Bengio et al. 2013, arXiv 1308.3432.
    """

    def __init__(self, width: int, prompts: int, weight_scale: str = "sum") -> None:
        super().__init__(width, prompts, weight_scale=weight_scale)
        self.k = 1

    def normalise(self, logits: Float[Tensor, "L B P"]) -> Float[Tensor, "L B P"]:
        soft = logits.softmax(-1)
        hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return hard + (soft - soft.detach())  # the bracket is zero, exactly


class SigmoidGate(LinearGate):
    """Weights that do not compete: each prompt has a sigmoid of its own; all start as the paper's gate starts."""

    def __init__(self, width: int, prompts: int, weight_scale: str = "sum") -> None:
        super().__init__(width, prompts, weight_scale=weight_scale)

    def normalise(self, logits: Float[Tensor, "L B P"]) -> Float[Tensor, "L B P"]:
        return 2 * logits.sigmoid() / logits.shape[-1]


class MLPGate(NoisyGate):
    """The paper's gate with a hidden layer of D units (SiLU) before the logits.

    The hidden layer starts at random, the logits at zero.
    """

    def __init__(self, width: int, prompts: int, top_k: float = 1.0, weight_scale: str = "sum") -> None:
        super().__init__(width, prompts, top_k, weight_scale)
        self.hidden = nn.Linear(width + 1, width)
        self.output = nn.Linear(width, prompts)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def logits(self, e: Float[Tensor, "B D"], blocks: Float[Tensor, " L"]) -> Float[Tensor, "L B P"]:
        index = blocks[:, None, None].expand(-1, len(e), 1)
        return self.output(F.silu(self.hidden(torch.cat([e.expand(len(blocks), -1, -1), index], dim=-1))))


class ConstantGate(Gate):
    """Learns nothing: all prompts weigh the same, 1/P each (`weight_scale` sum) or 1 each (mean: plain prompts)."""

    def __init__(self, width: int, prompts: int, weight_scale: str = "sum") -> None:
        super().__init__()
        self.prompts, self.weight_scale = prompts, weight_scale
        self.weight = total_weight(weight_scale, prompts) / prompts

    def forward(
        self, e: Float[Tensor, "B D"], blocks: Float[Tensor, " L"], noise: Float[Tensor, "L B P"] | None = None
    ) -> Gates:
        return Gates(e.new_full((len(blocks), 1, self.prompts), self.weight), None)


def noise_level_embedding(log_snr: Float[Tensor, " B"], width: int) -> Float[Tensor, "B D"]:
    """Cosines, then sines, of the log SNR at wavelengths in a geometric row, `width` values in all.

    Raises:
        UserError: `width` is odd.
    """
    if width % 2:
        raise UserError(
            f"method.condition=log_snr needs an even width, but this base has {width}: choose another condition."
        )
    wavelengths = torch.logspace(math.log10(LONGEST), math.log10(SHORTEST), width // 2, device=log_snr.device)
    angles = 2 * math.pi * log_snr[:, None] / wavelengths
    return torch.cat([angles.cos(), angles.sin()], dim=1)
