"""The method of the paper, on torch alone: prompts, the gate that weighs them, the balance losses."""

from dmp_lightning.prompts.balance import balance_losses, released_balance_losses
from dmp_lightning.prompts.gate import Gate, Gates, NoisyGate, probability_in_top_k
from dmp_lightning.prompts.gates import ConstantGate, HardGate, LinearGate, MLPGate, SigmoidGate, noise_level_embedding
from dmp_lightning.prompts.grids import GridsOfPrompts
from dmp_lightning.prompts.pool import Mixture, MixtureOfPrompts, Prompts, injected_blocks
from dmp_lightning.prompts.spread import Place, Spread, WeightedPrompts, spread

__all__ = [
    "ConstantGate",
    "Gate",
    "Gates",
    "GridsOfPrompts",
    "HardGate",
    "LinearGate",
    "MLPGate",
    "Mixture",
    "MixtureOfPrompts",
    "NoisyGate",
    "Place",
    "Prompts",
    "SigmoidGate",
    "Spread",
    "WeightedPrompts",
    "balance_losses",
    "injected_blocks",
    "noise_level_embedding",
    "probability_in_top_k",
    "released_balance_losses",
    "spread",
]
