"""The type of a backbone's weights."""

from collections.abc import Callable

import torch

from dmp_lightning.backbones.base import Backbone

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def in_dtype(name: str, build: Callable[[], Backbone]) -> Backbone:
    """A backbone with weights of that type from the start, so that a large one is never held in two.

    Raises:
        ValueError: there is no such type.
    """
    if name not in DTYPES:
        raise ValueError(f"backbone.dtype={name} is unknown: choose {' or '.join(DTYPES)}.")
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[name])
    try:
        return build().to(DTYPES[name])
    finally:
        torch.set_default_dtype(before)
