"""The description of a method, as a patch file holds it: names of constructors that are known, and plain values."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from dmp_lightning import methods, prompts
from dmp_lightning.diffusion import ddpm, flow, schedule, weighting
from dmp_lightning.diffusion.process import Process
from dmp_lightning.methods import Method
from dmp_lightning.prompts import Gate, NoisyGate
from dmp_lightning.user_error import UserError

Constructors = dict[str, Callable[..., Any]]


def _is(found: object, kind: type, *abstract: type) -> bool:
    return isinstance(found, type) and issubclass(found, kind) and found not in (kind, *abstract)


def _known(module: Any, *names: str) -> Constructors:
    return {f"{module.__name__}.{name}": getattr(module, name) for name in names}


METHODS = _known(methods, *(name for name, each in vars(methods).items() if _is(each, Method)))
GATES = _known(prompts, *(name for name, each in vars(prompts).items() if _is(each, Gate, NoisyGate)))
PROCESSES = _known(ddpm, "DDPM") | _known(flow, "Flow")
BETAS = _known(schedule, "cosine_betas", "linear_betas", "scaled_linear_betas")
WEIGHTS = _known(weighting, "constant", "min_snr", "min_snr_v", "p2")
PARTS = {"gate": GATES, "process": PROCESSES, "betas": BETAS, "loss_weight": WEIGHTS}
"""Constructors that a description may name for an argument, by the argument's name."""

BY_NAME = {name.rpartition(".")[2].removesuffix("Gate").lower(): gate for name, gate in GATES.items()}
"""Gates by their short names: linear, hard, sigmoid, mlp, constant."""
DMP, PROCESS = "dmp_lightning.methods.DMP", "dmp_lightning.diffusion.ddpm.DDPM"


def describe_gate(gate: str | Callable[..., Gate]) -> tuple[dict[str, Any], Constructors]:
    """The description of a gate, and its class by the name there if that is one of the user's own.

    Args:
        gate: one of the names `BY_NAME`; a class of gates; or `functools.partial` of one, with options by name.

    Raises:
        UserError: it is something else, which no file could describe.
    """
    build = BY_NAME.get(gate) if isinstance(gate, str) else gate
    kind = build.func if isinstance(build, partial) else build
    if not (isinstance(kind, type) and issubclass(kind, Gate)):
        raise UserError(
            f"gate={gate!r} is unknown: choose {', '.join(BY_NAME)}, or give a class of gates, or functools.partial of "
            "one with options by name."
        )
    return _describe(build, GATES), {} if kind in GATES.values() else {qualified(kind): kind}


def describe_process(process: Process) -> dict[str, Any]:
    """The description of a process.

    Raises:
        UserError: it is of a class, or weighs the loss by a function, that is not ours.
    """
    found: dict[str, Any] = {"_target_": qualified(type(process)), **process.options}
    if "betas" in found:
        betas = found["betas"]
        usual = (name for name, make in BETAS.items() if torch.equal(make(), betas))
        found["betas"] = next(({"_target_": name} for name in usual), betas.tolist())
    if "loss_weight" in found:
        found["loss_weight"] = _describe(found["loss_weight"], WEIGHTS)
    weighed = "loss_weight" not in found or found["loss_weight"]["_target_"] in WEIGHTS
    if found["_target_"] not in PROCESSES or not weighed:
        weights = ", ".join(name.rpartition(".")[2] for name in WEIGHTS)
        raise UserError(f"A patch file can describe a Flow, or a DDPM whose loss_weight is one of {weights}: give one.")
    return found


def _describe(build: Any, known: Constructors) -> dict[str, Any]:
    """A constructor, or a `functools.partial` of it, by its name in `known`, or else in its own module."""
    function, options = (build.func, build.keywords) if isinstance(build, partial) else (build, {})
    name = next((name for name, each in known.items() if each is function), qualified(function))
    return {"_target_": name, "_partial_": True, **options}


def qualified(constructor: Any) -> str:
    """The name of a class or function with its module's."""
    return f"{constructor.__module__}.{constructor.__qualname__}"
