"""Models of diffusers with blocks of real size: what a patch adds to a forward pass, and the memory of a step.

As a program it reads a case as JSON and prints the peak memory of its steps as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple
from unittest import mock

import diffusers
import torch
from alone import MAPPED, MIB, program, resident_peak
from timing import in_turn, ratios, row, seconds
from torch import Tensor, nn
from tqdm import tqdm

import dmp_lightning as dmp
from dmp_lightning.backbones.spots import Entering

BOUND = 1.02
SIDE = 64
"""Tokens a side of a picture of 1024 x 1024 pixels."""
FLUX = {"num_layers": 0, "num_single_layers": 0, "guidance_embeds": False}


class Case(NamedTuple):
    """A model of published width, and how many of its blocks it has."""

    kind: str
    options: dict[str, Any]
    checkpointing: bool = False

    @property
    def model(self) -> nn.Module:
        """Of random weights: what a pass costs does not depend on them."""
        torch.manual_seed(0)
        return getattr(diffusers, self.kind)(**self.options).eval()

    @property
    def call(self) -> dict[str, Tensor]:
        """One picture of 1024 x 1024 pixels, and one text of the usual length."""
        if self.kind.startswith("Flux"):
            place = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
            floats = {"hidden_states": (1, SIDE**2, 64), "encoder_hidden_states": (1, 512, 4096)}
            floats["pooled_projections"] = (1, 768)
            others = {"img_ids": torch.cat([torch.zeros(len(place), 1), place], 1), "txt_ids": torch.zeros(512, 3)}
        else:
            floats = {"hidden_states": (1, 16, 2 * SIDE, 2 * SIDE), "encoder_hidden_states": (1, 154, 4096)}
            floats["pooled_projections"] = (1, 2048)
            others = {}
        drawn = {key: torch.randn(shape) for key, shape in floats.items()}
        return drawn | others | {"timestep": torch.tensor([0.5])}


def sd3(blocks: int, checkpointing: bool = False) -> Case:
    """SD3-medium with fewer blocks; the last of them gives no text."""
    options = {"num_layers": blocks, "num_attention_heads": 24, "caption_projection_dim": 1536}
    return Case("SD3Transformer2DModel", options | {"pos_embed_max_size": 192}, checkpointing)


def flux(**blocks: int) -> Case:
    return Case("FluxTransformer2DModel", FLUX | blocks)


FORWARD = {
    "SD3-medium, two blocks, float32": sd3(2),
    "Flux.1-dev, one block of two streams, float32": flux(num_layers=1),
    "Flux.1-dev, one block of one stream, float32": flux(num_single_layers=1),
}
MEMORY = {
    f"SD3-medium, {blocks} blocks{', activation checkpointing' if checkpointing else ''}": sd3(
        blocks, checkpointing=checkpointing
    )
    for blocks in (2, 4)
    for checkpointing in (False, True)
}


def forward(rounds: int) -> list[dict]:
    """The patched model in units of its base, by processor time of one thread, and the patch's own parts of that."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for name, case in tqdm(FORWARD.items(), leave=False):
        whole, parts = measured(case, rounds)
        rows += [row(name, whole, BOUND), row(f"{name}: gate and additions alone", [1 + part for part in parts], BOUND)]
    torch.set_num_threads(threads)
    return rows


@torch.no_grad()
def measured(case: Case, rounds: int) -> tuple[list[float], list[float]]:
    """Round by round: the patched pass over that of the base, with the same weights; and the patch's parts over it."""
    base, call = case.model, case.call
    patched = deepcopy(base, {id(each): each for each in base.parameters()})
    patch = dmp.attach(patched, grid=16)
    for parameters in patch.parameters_by_group().values():
        for parameter in parameters:
            parameter.normal_(std=0.02)
    spent: list[float] = []
    patch.additions = timed(patch.additions, spent)

    def pass_with_patch() -> None:
        spent.append(0.0)
        patched(**call)

    models = {"base": lambda: base(**call), "patched": pass_with_patch}
    with mock.patch.object(Entering, "__call__", timed(Entering.__call__, spent)):
        times = in_turn(models, rounds, what=case.kind, warm_up=1, clock=time.process_time)
    return ratios(times, "patched", "base"), [part / one for part, one in zip(spent[1:], times["base"], strict=True)]


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The function, whose time is added to the last of those `spent`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        found = function(*args, **kwargs)
        spent[-1] += time.process_time() - start
        return found

    return call


def memory() -> list[dict]:
    """Peak memory of processes on the CPU, each after two steps with one picture, float32."""
    return [
        {"what": name, "environment": MAPPED, "bound": None, **program(__file__, [json.dumps(case)], MAPPED)}
        for name, case in tqdm(MEMORY.items(), desc="Memory of SD3", leave=False)
    ]


def main() -> None:
    case = Case(*json.loads(sys.argv[1]))
    libraries, model, call = resident_peak(), case.model, case.call
    if case.checkpointing:
        model.enable_gradient_checkpointing()
    patch = dmp.attach(model, grid=16)
    trained = [each for group in patch.parameters_by_group().values() for each in group]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)

    def step() -> None:
        output = model(**call, return_dict=False)[0]
        (output.square().mean() + sum(patch.auxiliary_losses().values())).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    times = [seconds(step) for _ in range(2)]
    weights = sum(value.nbytes for value in model.parameters()) / MIB
    print(json.dumps({"seconds": times, "peak": resident_peak(), "libraries": libraries, "weights": weights}))


if __name__ == "__main__":
    main()
