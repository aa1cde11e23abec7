"""A base in Python as a backbone, and the grid and weights of its prompts where `attach` is not told any."""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from dmp_lightning.backbones import Adapter, Backbone, Family, Grid, family_of
from dmp_lightning.patching.description import GATES, Constructors
from dmp_lightning.user_error import UserError

MOST = 256
"""Tokens up to which each has a prompt of its own, unless the user says otherwise."""
SIDE = 16
"""Of the grid of prompts above that."""


def backbone_of(base: nn.Module, family: Family | None) -> Backbone:
    """The base as a backbone: itself, or the one adapter of its patches.

    Raises:
        UserError: its class is not known.
    """
    if isinstance(base, Backbone):
        return base
    for patch in getattr(base, "attached_patches", ()):
        return patch.method.backbone
    return Adapter(base, family or family_of(base))


def uncompiled(base: nn.Module) -> nn.Module:
    """The model itself, where `base` is what `torch.compile` has made of it."""
    inner = getattr(base, "_orig_mod", base)
    assert isinstance(inner, nn.Module)
    return inner


def grid_of(backbone: Adapter, grid: int | Sequence[int] | None) -> list[int]:
    """Rows and columns of the prompts: as the user says, or one for each token up to `MOST`.

    Raises:
        UserError: `grid` is no number, or two, from 1.
    """
    if grid is None:
        usual = finest(backbone)
        return [SIDE, SIDE] if usual is None or usual[0] * usual[1] > MOST else list(usual)
    cells = [grid, grid] if isinstance(grid, int) else list(grid)
    if len(cells) != 2 or not all(isinstance(side, int) and side > 0 for side in cells):
        raise UserError(f"grid={grid}: choose rows and columns of the prompts, or the side of a square.")
    return cells


def for_grid(about: dict[str, Any], own: Constructors, backbone: Adapter, grid: Sequence[int]) -> dict[str, Any]:
    """The description of a gate, with weights of mean 1 where there are fewer prompts than tokens.

    Weights that sum to 1 would shrink a prompt's effect and gradient, because it is added to many tokens.
    """
    takes = inspect.signature((GATES | own)[about["_target_"]]).parameters
    if finest(backbone) == tuple(grid) or "weight_scale" not in takes:
        return about
    return {"weight_scale": "mean"} | about


def finest(backbone: Adapter) -> Grid | None:
    """The most rows and columns of tokens that a site has in a picture of the usual size, if there is one."""
    return max((usual for usual in backbone.usual_grids() if usual is not None), default=None)
