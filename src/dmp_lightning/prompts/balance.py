"""Balance losses: they keep a few prompts from taking all the weight (arXiv 2405.17825, section 3.3)."""

import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.distributed.nn.functional import all_reduce

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


def released_balance_losses(gates: Gates) -> dict[str, Float[Tensor, ""]]:
    """As the authors' release has it: the importance of all blocks together, which lets each block favour a few.

    Its load term is constant, teaches nothing, and is left out.
    """
    return {"importance": _squared_variation(gates.weights.sum(0, keepdim=True)).mean()}


def _squared_variation(values: Float[Tensor, "L B P"]) -> Float[Tensor, " L"]:
    """Variance / mean^2 over the prompts of the batch sum; the variance is that of all P values, so P = 1 gives 0.

    The batch is that of all processes: theirs are added up, with gradients.
    """
    total = values.float().sum(1)
    if dist.is_initialized() and dist.get_world_size() > 1:
        total = all_reduce(total)
    return total.var(-1, correction=0) / total.mean(-1).square()
