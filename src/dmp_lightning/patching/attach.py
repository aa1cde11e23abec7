"""Putting a patch on a base in Python: a new one, or one from a file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn

from dmp_lightning.backbones import Adapter, Family
from dmp_lightning.diffusion.process import Process
from dmp_lightning.methods import read_patch
from dmp_lightning.patching.agreement import usual_process
from dmp_lightning.patching.defaults import backbone_of, for_grid, grid_of, uncompiled
from dmp_lightning.patching.description import DMP, Constructors, describe_gate, describe_process, qualified
from dmp_lightning.patching.hub import patch_file
from dmp_lightning.patching.parse import described, from_file
from dmp_lightning.patching.patch import Patch
from dmp_lightning.prompts import Gate

BALANCE = {"importance": 1.0, "load": 1.0}
"""Weights of the balance losses in the paper."""


def attach(
    base: nn.Module,
    gate: str | Callable[..., Gate] = "linear",
    *,
    grid: int | Sequence[int] | None = None,
    prompt_count: int | float | None = None,
    injection: str | Sequence[int] = "all",
    balance: Mapping[str, float] | str = BALANCE,
    position: str = "add",
    init: str = "zero",
    condition: str = "timestep",
    process: Process | None = None,
    family: Family | None = None,
) -> Patch:
    """Freeze `base` and put a new patch on it: a mixture of prompts (DMP), by default the paper's.

    Args:
        base: a DiT of ours, or a model of diffusers: `pipeline.transformer`, `pipeline.unet`.
        gate: `linear` (the paper), `hard`, `sigmoid`, `mlp` or `constant`; or a class of gates, or `functools.partial`
            of one: `partial(dmp.LinearGate, top_k=0.5)`. On a model of diffusers with fewer prompts than tokens,
            weights have mean 1, unless `weight_scale` says otherwise.
        grid: rows and columns of the prompts of a model of diffusers, or the side of a square; None for one prompt for
            each token (the paper) up to 256 tokens, else 16.
        prompt_count, injection, position, init: see `prompts.MixtureOfPrompts`; by default one prompt for each token,
            in all blocks, added, and zero at first, so that the model does not change before it is trained.
        balance, condition: see `methods.DMP`.
        process: the diffusion process of the base. None for the paper's, a DDPM of 1,000 steps with linear betas; for
            a `Flow` where the base predicts a velocity; and for Stable Diffusion's where a model of diffusers predicts
            epsilon alone, or v.
        family: how a model is patched whose class is not known, see `docs/add_backbone.md`.

    Raises:
        UserError: an argument is unknown, or does not fit the base.
    """
    base = uncompiled(base)
    backbone = backbone_of(base, family)
    gate_about, own = describe_gate(gate)
    about = {
        "_target_": DMP,
        "_partial_": True,
        "gate": gate_about,
        "balance": balance if isinstance(balance, str) else dict(balance),
        "injection": injection if isinstance(injection, str) else list(injection),
        "prompt_count": prompt_count,
        "position": position,
        "init": init,
        "condition": condition,
        "process": describe_process(process or usual_process(backbone)),
    }
    if isinstance(backbone, Adapter):
        about |= {"grid": (cells := grid_of(backbone, grid)), "gate": for_grid(gate_about, own, backbone, cells)}
    elif grid is not None:
        about["grid"] = grid
    return Patch(base, backbone, lambda: described(about, own)(backbone=backbone), process, about)


def load(
    base: nn.Module,
    path: str | Path,
    *,
    gates: Sequence[type[Gate]] = (),
    process: Process | None = None,
    family: Family | None = None,
) -> Patch:
    """Put a patch, saved by `Patch.save` or by the command `train`, onto its base.

    It can be trained further. A file does not hold what the gate's noise has learned: that starts from zero again.

    Args:
        path: a patch file; a folder with `patch.safetensors`; or a repository of the hub, `USER/REPO` or
            `USER/REPO@REVISION`, which is taken from the hub's cache if it is there.
        gates: classes of your own that the file may name. Without them nothing in a file chooses what code runs.
        process: for `Patch.loss`; None for the file's, or that of `attach` where the file has none (plain prompt
            tuning).
        family: as `attach` takes it.

    Raises:
        MissingFileError: there is no such file or repository.
        UserError: it is damaged, of another base, of a method that changes the base's weights, or describes something
            that is not known.
    """
    path, base = patch_file(path), uncompiled(base)
    found = read_patch(path)
    own: Constructors = {qualified(gate): gate for gate in gates}
    backbone = backbone_of(base, family)
    return Patch(base, backbone, lambda: from_file(backbone, path, found, own=own), process, found.about.get("method"))
