"""The training loss of a batch, and what is drawn at random for it."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.process import Process
from dmp_lightning.methods import Method


class Draws(NamedTuple):
    """Random draws for a batch: times, noise, which conditions are `dropped`, and the noise of the gates, if any."""

    t: Num[Tensor, " B"]
    noise: Float[Tensor, "B C H W"]
    dropped: Bool[Tensor, " B"]
    gates: Float[Tensor, "L B P"] | None

    def take(self, rows: slice) -> "Draws":
        """The draws of some samples of the batch."""
        gates = None if self.gates is None else self.gates[:, rows]
        return Draws(self.t[rows], self.noise[rows], self.dropped[rows], gates)


class Loss(NamedTuple):
    """Loss of a batch: the `total` to minimise, the weighted and unweighted `parts` by name, and the loss by sample."""

    total: Float[Tensor, ""]
    parts: dict[str, Float[Tensor, ""]]
    samples: Float[Tensor, " B"]


def draw(
    method: Method, process: Process, shape: torch.Size, source: torch.Generator | None, device: torch.device
) -> Draws:
    """The draws for clean samples of `shape` (B, C, H, W), from a generator on `device`, or torch's global one."""
    drawing: Any = {"generator": source, "device": device}
    t = process.draw(shape[0], source, device)
    noise = torch.randn(shape, **drawing)
    dropped = torch.rand(shape[0], **drawing) < method.backbone.class_dropout_prob
    return Draws(t, noise, dropped, draw_gates(method, shape[0], source, device))


def draw_gates(
    method: Method, count: int, source: torch.Generator | None, device: torch.device
) -> Float[Tensor, "L B P"] | None:
    """Standard normal noise for the gates of `count` samples, or None where the method takes none."""
    if method.noise_shape is None:
        return None
    return torch.randn(count, *method.noise_shape, generator=source, device=device).transpose(0, 1)


def loss_of(method: Method, process: Process, x: Float[Tensor, "B C H W"], condition: Condition, drawn: Draws) -> Loss:
    """The training loss of clean samples `x`: the process's objective, and the auxiliary losses of the method.

    Where the draws say so, the condition is replaced by the base's null condition, if it has one.
    """
    condition, null = method.backbone.known(condition), method.backbone.null_condition()
    if null is not None:
        condition = condition.drop(drawn.dropped, null)
    x_t = process.add_noise(x, drawn.noise, drawn.t)
    prediction = method(x_t, drawn.t, condition, drawn.gates)
    losses = process.losses(prediction.output, x, x_t, drawn.noise, drawn.t)
    objective = losses.total.mean()
    parts = {"objective": objective} | {name: each.mean() for name, each in losses.parts.items()}
    return Loss(objective + sum(prediction.auxiliary.values()), parts | prediction.auxiliary, losses.total)
