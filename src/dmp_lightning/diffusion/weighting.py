"""Weights of the loss by timestep, as functions of the signal-to-noise ratio."""

from jaxtyping import Float
from torch import Tensor


def constant(snr: Float[Tensor, " steps"]) -> Float[Tensor, " steps"]:
    """Every timestep counts the same (Ho et al. 2020, equation 14)."""
    return snr.new_ones(snr.shape)


def min_snr(snr: Float[Tensor, " steps"], gamma: float = 5.0) -> Float[Tensor, " steps"]:
    """`min(SNR, gamma) / SNR` (Hang et al. 2023, section 3.4, for epsilon prediction)."""
    return snr.clamp(max=gamma) / snr


def min_snr_v(snr: Float[Tensor, " steps"], gamma: float = 5.0) -> Float[Tensor, " steps"]:
    """`min(SNR, gamma) / (SNR + 1)`: the same on the loss of v (Hang et al. 2023, section 3.4)."""
    return snr.clamp(max=gamma) / (snr + 1)


def p2(snr: Float[Tensor, " steps"], k: float = 1.0, gamma: float = 1.0) -> Float[Tensor, " steps"]:
    """`1 / (k + SNR)^gamma`, for epsilon prediction (Choi et al. 2022, equation 8)."""
    return (k + snr) ** -gamma


OF_EPSILON = (min_snr, p2)
"""Those that are derived for the loss of epsilon: on another prediction they would weigh timesteps otherwise."""
