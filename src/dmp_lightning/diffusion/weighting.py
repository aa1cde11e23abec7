"""Weights of the epsilon loss by timestep, as functions of the signal-to-noise ratio."""

from jaxtyping import Float
from torch import Tensor


def constant(snr: Float[Tensor, " steps"]) -> Float[Tensor, " steps"]:
    """Every timestep counts the same (Ho et al. 2020, equation 14)."""
    return snr.new_ones(snr.shape)


def min_snr(snr: Float[Tensor, " steps"], gamma: float = 5.0) -> Float[Tensor, " steps"]:
    """`min(SNR, gamma) / SNR` (Hang et al. 2023, section 3.4, for epsilon prediction)."""
    return snr.clamp(max=gamma) / snr


def p2(snr: Float[Tensor, " steps"], k: float = 1.0, gamma: float = 1.0) -> Float[Tensor, " steps"]:
    """`1 / (k + SNR)^gamma` (Choi et al. 2022, equation 8)."""
    return (k + snr) ** -gamma
