"""What prompts start from."""

import torch
from torch import nn

NORMAL_STD = 0.02  # as transformers' embeddings start


def initial_prompts(init: str, blocks: int, prompts: int, width: int) -> nn.Parameter:
    """Prompts (blocks, P, D): `zero` (the paper: the patch starts as the base), `normal` (deviation 0.02), or `xavier`.

    `xavier` is uniform as for a matrix of P x D in each block (Glorot and Bengio 2010). Both draw from torch's global
    generator.

    Raises:
        ValueError: there is no such initialisation.
    """
    values = torch.zeros(blocks, prompts, width)
    if init == "normal":
        nn.init.normal_(values, std=NORMAL_STD)
    elif init == "xavier":
        for block in values:
            nn.init.xavier_uniform_(block)
    elif init != "zero":
        raise ValueError(f"method.init={init!r} is unknown: choose zero, normal or xavier.")
    return nn.Parameter(values)
