"""Diffusers' schedulers for a DDPM, at the timesteps and with the precision of the DiT release."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from dmp_lightning.user_error import UserError

LEAST = 2.0**-24
"""What diffusers puts for a signal of zero, by which its solvers divide."""


def prepared(
    build: Callable[..., Any], betas: Float[Tensor, " steps"], steps: int, respaced: bool, prediction: str = "epsilon"
) -> Any:
    """A scheduler from `num_train_timesteps` and `trained_betas`, with its timesteps set; see `Process.scheduler`.

    Args:
        betas: (steps,) float64, of the schedule that the model was trained on.
        prediction: diffusers' `prediction_type`.

    Raises:
        UserError: the schedule does not have that many steps; or the scheduler does not take its options or `respaced`.
    """
    fewest, most = (2, len(betas)) if respaced else (1, len(betas) - 1)
    if not fewest <= steps <= most:
        raise UserError(
            f"sampler.steps={steps} does not fit a schedule of {len(betas)} timesteps: "
            f"choose {fewest} to {most} for this sampler."
        )
    try:
        scheduler = build(num_train_timesteps=len(betas), trained_betas=betas.numpy(), prediction_type=prediction)
        # Diffusers multiplies a thousand alphas in float32, and subtracts the small noise of early timesteps from 1.
        kept = (1 - betas).cumprod(0)
        scheduler.alphas_cumprod = kept.where(kept > 0, LEAST)
        if not respaced:
            scheduler.set_timesteps(steps)
        elif "timesteps" in signature(scheduler.set_timesteps).parameters:
            scheduler.set_timesteps(timesteps=respaced_timesteps(steps, len(betas)))
        else:
            raise UserError(f"{type(scheduler).__name__} chooses its own timesteps: set sampler.respaced=false for it.")
    except UserError:
        raise
    except (ValueError, TypeError, NotImplementedError) as error:  # each scheduler has its own way to refuse
        raise UserError(f"sampler.scheduler does not take these options: {error}") from error
    return scheduler


def respaced_timesteps(steps: int, length: int) -> list[int]:
    """The timesteps that the DiT release visits, descending: evenly spaced, both ends of the schedule included."""
    return np.linspace(length - 1, 0, steps).round().astype(int).tolist()
