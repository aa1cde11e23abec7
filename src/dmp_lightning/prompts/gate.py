"""The interface of a gate, which says how strongly each prompt acts at a denoising step (arXiv 2405.17825, 3.2)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dmp_lightning.user_error import UserError

NOISE_FLOOR = 0.01  # smallest standard deviation of the training noise on the logits


class Gates(NamedTuple):
    """A gate's answer for a batch, for the L blocks that have prompts.

    `weights` (L, B, P): the factor of each prompt; B may be 1 where they are the same for all samples. `load`
    (L, B, P): the probability that a prompt is in the top k if its own noise is drawn again, or None where that says
    nothing (no noise, or k = P).
    """

    weights: Float[Tensor, "L B P"]
    load: Float[Tensor, "L B P"] | None


class Gate(nn.Module):
    """The interface of all gates. `training_only` names parameters of no use after training."""

    noisy = False
    """Whether it takes noise in training."""
    weight_scale = "sum"
    """What the weights of a block sum to, or mean, see `total_weight`."""
    training_only: tuple[str, ...] = ()

    def forward(
        self, e: Float[Tensor, "B D"], blocks: Float[Tensor, " L"], noise: Float[Tensor, "L B P"] | None = None
    ) -> Gates:
        """Weigh the prompts of all `blocks` (their indices as floats) under the conditioning `e`."""
        raise NotImplementedError


class NoisyGate(Gate):
    """Weights from logits that carry noise in training; a subclass says how it comes by the `logits`.

    Args:
        width: D, the size of the conditioning `e`.
        prompts: P, the number of prompts of a block.
        top_k: fraction of the prompts that stay active, in (0, 1].
        weight_scale: see `total_weight`.

    Raises:
        UserError: `top_k` is outside (0, 1], leaves no prompt, or `weight_scale` is unknown.
    """

    noisy = True
    training_only = ("noise",)

    def __init__(self, width: int, prompts: int, top_k: float = 1.0, weight_scale: str = "sum") -> None:
        super().__init__()
        if not 0 < top_k <= 1 or int(top_k * prompts) < 1:
            raise UserError(f"gate.top_k={top_k} of {prompts} prompts: choose a fraction from 1/{prompts} to 1.")
        self.k = int(top_k * prompts)
        self.weight_scale, self.factor = weight_scale, total_weight(weight_scale, prompts)
        self.noise = nn.Parameter(torch.zeros(width, prompts))

    def logits(self, e: Float[Tensor, "B D"], blocks: Float[Tensor, " L"]) -> Float[Tensor, "L B P"]:
        """The numbers that weights are made from, all zero at first."""
        raise NotImplementedError

    def normalise(self, logits: Float[Tensor, "L B P"]) -> Float[Tensor, "L B P"]:
        """Weights that sum to 1 over the prompts at first."""
        return softmax_of_top_k(logits, self.k)

    def forward(
        self, e: Float[Tensor, "B D"], blocks: Float[Tensor, " L"], noise: Float[Tensor, "L B P"] | None = None
    ) -> Gates:
        """Weigh the prompts of all `blocks` (their indices as floats) under the conditioning `e`.

        `noise` is standard normal, for training only: it is scaled by `softplus(e @ W_noise) + 0.01` and added to the
        logits (Shazeer et al. 2017, equation 4).
        """
        clean = self.logits(e, blocks)
        if noise is None:
            return Gates(self.factor * self.normalise(clean), None)
        std = F.softplus(e @ self.noise) + NOISE_FLOOR
        noisy = clean + noise * std
        weights = self.factor * self.normalise(noisy)
        if self.k == noisy.shape[-1]:
            return Gates(weights, None)
        return Gates(weights, probability_in_top_k(clean, noisy, std.expand_as(clean), self.k))


def total_weight(weight_scale: str, prompts: int) -> float:
    """The sum of a block's weights: 1 for `sum` (the paper), P for `mean`, whose weights have mean 1.

    With `mean`, P does not shrink each prompt's effect and gradient.

    Raises:
        UserError: it is neither.
    """
    if weight_scale not in ("sum", "mean"):
        raise UserError(f"gate.weight_scale={weight_scale!r} is unknown: choose 'sum' or 'mean'.")
    return float(prompts) if weight_scale == "mean" else 1.0


def softmax_of_top_k(logits: Float[Tensor, "*batch P"], k: int) -> Float[Tensor, "*batch P"]:
    """Softmax over the `k` largest of the last dimension, zero elsewhere."""
    if k == logits.shape[-1]:
        return logits.softmax(-1)
    top, index = logits.topk(k, dim=-1)
    probabilities = top.softmax(-1)
    return torch.zeros_like(logits, dtype=probabilities.dtype).scatter(-1, index, probabilities)


def probability_in_top_k(
    clean: Float[Tensor, "*batch P"], noisy: Float[Tensor, "*batch P"], std: Float[Tensor, "*batch P"], k: int
) -> Float[Tensor, "*batch P"]:
    """Probability that each entry is in the top `k < P` if its own noise is drawn again, the others' kept.

    Shazeer et al. 2017, appendix A, equation 9: an entry must beat the k-th largest of the others, which is the
    (k+1)-th largest of all for an entry that is in the top k now, else the k-th.
    """
    top = noisy.topk(k + 1, dim=-1).values
    kth, next_best = top[..., -2:-1], top[..., -1:]
    threshold = torch.where(noisy > next_best, next_best, kth)
    return torch.special.ndtr((clean - threshold) / std)
