"""The method of the paper, on torch alone: prompts, the gate that weighs them, the balance losses."""

from dmp_lightning.prompts.balance import balance_losses
from dmp_lightning.prompts.gate import Gates, LinearGate, probability_in_top_k
from dmp_lightning.prompts.mixture import Mixture, MixtureOfPrompts, injected_blocks

__all__ = [
    "Gates",
    "LinearGate",
    "Mixture",
    "MixtureOfPrompts",
    "balance_losses",
    "injected_blocks",
    "probability_in_top_k",
]
