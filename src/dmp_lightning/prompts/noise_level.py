"""The noise level as a gate sees it: an embedding of the logarithm of the signal-to-noise ratio."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

LONGEST, SHORTEST = 64.0, 0.5  # wavelengths in units of log SNR, which goes from about -10 to 10


def log_snr(betas: Float[Tensor, " steps"]) -> Float[Tensor, " steps"]:
    """`log(alpha_bar / (1 - alpha_bar))` at each timestep of a schedule (Kingma et al. 2021), in float32."""
    alphas_cumprod = (1 - betas.double()).cumprod(0)
    return torch.logit(alphas_cumprod).float()


def noise_level_embedding(log_snr: Float[Tensor, " B"], width: int) -> Float[Tensor, "B D"]:
    """Cosines, then sines, of the log SNR at wavelengths in a geometric row, `width` values in all.

    Raises:
        ValueError: `width` is odd.
    """
    if width % 2:
        raise ValueError(f"method.condition=log_snr needs an even width, this base has {width}.")
    wavelengths = torch.logspace(math.log10(LONGEST), math.log10(SHORTEST), width // 2, device=log_snr.device)
    angles = 2 * math.pi * log_snr[:, None] / wavelengths
    return torch.cat([angles.cos(), angles.sin()], dim=1)
