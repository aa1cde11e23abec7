"""Classifier-free guidance (Ho and Salimans 2022), as the public DiT results use it."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.process import Process
from dmp_lightning.user_error import UserError

Model = Callable[[Float[Tensor, "B C H W"], Num[Tensor, " B"], Condition], Float[Tensor, "B C2 H W"]]


def guide(
    model: Model,
    null: Condition | None,
    process: Process,
    *,
    guidance_scale: float,
    channels: str = "first_three",
    interval: Sequence[float] = (0.0, 1.0),
) -> Model:
    """`model(x, t, condition)` with its prediction pushed away from the unconditional one, `u + scale * (p - u)`.

    At one x and t, epsilon, v and velocity are affine in the clean sample: to guide one is to guide all.

    Args:
        null: the condition that stands for none, one row; None if the model has no such condition.
        process: that the model was trained on. guidance_scale: 1 is no guidance, at no extra cost.
        channels: `first_three`, the convention of the public DiT results: the other channels stay as the model gives
            them under the condition; or `all` channels of the sample. The variance is never guided.
        interval: the part of the process that is guided, 0 clean and 1 pure noise, both ends included
            (Kynkäänniemi et al. 2024, arXiv 2404.07724); outside of it the model runs once, unguided.

    Raises:
        UserError: the model has no null label, or `channels` or `interval` is none of the above.
    """
    if channels not in ("first_three", "all"):
        raise UserError(f"evaluation.guidance.channels={channels!r} is unknown: choose first_three or all.")
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise UserError(
            f"evaluation.guidance.interval={list(interval)}: give a start and an end from 0 to 1, in order."
        )
    if guidance_scale == 1:
        return model
    if null is None:
        raise UserError(
            f"evaluation.guidance.guidance_scale={guidance_scale} needs a null label, which this model lacks: set "
            "evaluation.guidance.guidance_scale=1."
        )

    def guided(x: Float[Tensor, "B C H W"], t: Num[Tensor, " B"], condition: Condition) -> Float[Tensor, "B C2 H W"]:
        position = process.place(t)
        active = (low <= position) & (position <= high)
        if not active.any():
            return model(x, t, condition)
        none = null.to(x.device).repeat(len(x))
        both = model(torch.cat([x, x]), torch.cat([t, t]), condition.join(none))
        conditional, unconditional = both.chunk(2)
        count = x.shape[1] if channels == "all" else min(3, x.shape[1])
        scale = torch.where(active, guidance_scale, 1.0).to(both.dtype)[:, None, None, None]
        pushed = torch.lerp(unconditional[:, :count], conditional[:, :count], scale)
        return torch.cat([pushed, conditional[:, count:]], dim=1)

    return guided
