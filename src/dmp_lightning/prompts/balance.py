"""Balance losses: they keep a few prompts from taking all the weight (arXiv 2405.17825, section 3.3)."""

from jaxtyping import Float
from torch import Tensor

from dmp_lightning.prompts.gate import Gates


def balance_losses(gates: Gates) -> dict[str, Float[Tensor, ""]]:
    """Squared coefficients of variation over the prompts, averaged over the blocks.

    `importance`: of the batch sum of the gate weights. `load`: of the batch sum of the probability of being in the
    top k; it is left out where that says nothing (all prompts active). Shazeer et al. 2017, section 4 and appendix A.
    """
    losses = {"importance": _squared_variation(gates.weights).mean()}
    if gates.load is not None:
        losses["load"] = _squared_variation(gates.load).mean()
    return losses


def _squared_variation(values: Float[Tensor, "L B P"]) -> Float[Tensor, " L"]:
    """Variance / mean^2 over the prompts of the batch sum; the variance is that of all P values, so P = 1 gives 0."""
    total = values.float().sum(1)
    return total.var(-1, correction=0) / total.mean(-1).square()
