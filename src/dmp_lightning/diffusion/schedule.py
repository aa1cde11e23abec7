"""Noise schedules and the quantities derived from them, in float64 and on the CPU, whatever torch's default is."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dmp_lightning.user_error import UserError

NO_SIGNAL = -20.0
"""The log SNR of a timestep that has no signal, which is to be a number."""


def linear_betas(steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> Float[Tensor, " steps"]:
    """Betas that grow linearly (Ho et al. 2020), scaled so that any number of steps ends at the same noise.

    Raises:
        UserError: so few steps that the last beta would reach 1.
    """
    scale = _scale(steps, end)
    return torch.linspace(scale * start, scale * end, steps, dtype=torch.float64, device="cpu")


def scaled_linear_betas(
    steps: int = 1000,
    start: float = 0.00085,
    end: float = 0.012,
    snr_shift: int | float = 1.0,
    zero_terminal: bool = False,
) -> Float[Tensor, " steps"]:
    """Betas whose square roots grow linearly, as of Stable Diffusion 1.5 (Rombach et al. 2022, arXiv 2112.10752).

    Args:
        steps, start, end: as of `linear_betas`; HunyuanDiT has an `end` of 0.03, and since its version 1.2 of 0.018.
        snr_shift: divides the SNR of all timesteps; that of CogVideoX is 3 for 2B and 1 for 5B.
        zero_terminal: shift and scale the signal so that none is left at the last timestep (Lin et al. 2023, arXiv
            2305.08891, algorithm 1), as CogVideoX does. The model must then predict v.

    Raises:
        UserError: so few steps that the last beta would reach 1.
    """
    betas = _scale(steps, end) * torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64, device="cpu") ** 2
    kept = (1 - betas).cumprod(0)
    kept = kept / (snr_shift + (1 - snr_shift) * kept)
    if zero_terminal:
        signal = kept.sqrt()
        kept = ((signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])).square()
    return 1 - kept / torch.cat([kept.new_ones(1), kept[:-1]])


def cosine_betas(steps: int = 1000, largest: float = 0.999) -> Float[Tensor, " steps"]:
    """Betas whose cumulative product follows a squared cosine (Nichol and Dhariwal 2021, equation 17)."""

    def signal(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - signal((i + 1) / steps) / signal(i / steps), largest) for i in range(steps)]
    return torch.tensor(betas, dtype=torch.float64, device="cpu")


def _scale(steps: int, end: float) -> float:
    """The factor on betas of 1,000 steps that lets another number of steps end at nearly the same noise."""
    if steps < 1 or 1000 / steps * end >= 1:
        raise UserError(
            f"diffusion.betas.steps={steps} is too few for a linear schedule: choose more than {1000 * end:g}."
        )
    return 1000 / steps


class Schedule:
    """A Markov chain of noise: `q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t)`.

    All attributes are float64 of shape (steps,). `at` reads them at a batch of timesteps.
    """

    def __init__(self, betas: Float[Tensor, " steps"]) -> None:
        self.betas = betas
        self.steps = len(betas)
        alphas_cumprod = (1 - betas).cumprod(0)
        previous = torch.cat([betas.new_ones(1), alphas_cumprod[:-1]])
        self.alphas_cumprod = alphas_cumprod
        self.snr = alphas_cumprod / (1 - alphas_cumprod)
        self.log_snr = torch.logit(alphas_cumprod).nan_to_num(neginf=NO_SIGNAL)  # Kingma et al. 2021
        self.signal = alphas_cumprod.sqrt()
        self.sigma = (1 - alphas_cumprod).sqrt()
        self.posterior_x0 = betas * previous.sqrt() / (1 - alphas_cumprod)
        self.posterior_xt = (1 - previous) * (1 - betas).sqrt() / (1 - alphas_cumprod)
        self.log_betas = betas.log()
        # The posterior variance is 0 at the first position: the second stands in for it (Nichol and Dhariwal 2021).
        variance = betas * (1 - previous) / (1 - alphas_cumprod)
        self.posterior_log_variance = torch.cat([variance[1:2], variance[1:]]).log()
        self._kept: dict[tuple[str, torch.device], Tensor] = {}

    def at(self, name: str, t: Int[Tensor, " B"]) -> Float[Tensor, "B 1 1 1"]:
        """The quantity `name` at timesteps `t`, in float32, shaped to multiply samples."""
        if (name, t.device) not in self._kept:
            self._kept[name, t.device] = getattr(self, name).to(t.device, torch.float32)
        return self._kept[name, t.device][t][:, None, None, None]
