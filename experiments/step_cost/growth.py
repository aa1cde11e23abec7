"""How the cost of a step grows with batch, depth, injected blocks and prompts, beside the arithmetic."""

from collections.abc import Iterable
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import torch
from steps import SIZES, Case, Step
from timing import in_turn
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dmp_lightning.prompts import LinearGate, balance_losses

BATCHES, DEPTHS, LAST, PROMPTS = (1, 2, 4, 8, 16, 32), (6, 12, 18, 24), (1, 3, 6, 9, 12), (1, 16, 64, 256, 512, 1024)
TOKENS = 256
COLOURS = {"full_finetune": "C0", "dmp": "C1"}


def step_flops(case: Case) -> float:
    """Floating-point operations of a step, by formula.

    A block has 12 D^2 weights that each token meets and 6 D^2 (adaLN) that each sample meets, two operations a weight;
    attention takes 4 T D operations a token. In the backward pass, the way through activations costs as much again
    (attention twice that, as both its factors are activations), down to the first injected block; trained weights cost
    as much as the linear layers once more.
    """
    width = SIZES[case.size][0]
    linear = 2 * (12 * TOKENS + 6) * width**2
    attention = 4 * TOKENS**2 * width
    forward, through = linear + attention, linear + 2 * attention
    kind, _, count = case.injection.partition(":")
    reached = int(count) if kind == "last" else case.blocks
    weights = linear if case.method == "full_finetune" else 0
    return case.batch * (case.blocks * (forward + weights) + reached * through)


def sweeps() -> dict[str, dict[str, list[tuple[int, Case]]]]:
    """The cases of each panel and line, with their position on the axis."""
    return {
        "batch": {m: [(n, Case(m, batch=n)) for n in BATCHES] for m in ("full_finetune", "dmp")},
        "blocks": {m: [(n, Case(m, depth=n)) for n in DEPTHS] for m in ("full_finetune", "dmp")},
        "injected blocks, last:n": {"dmp": [(n, Case("dmp", injection=f"last:{n}")) for n in LAST]},
        "prompts a block": {"dmp": [(n, Case("dmp", prompt_count=n)) for n in PROMPTS]},
    }


def measure(rounds: int) -> dict:
    """Seconds by panel, line and position; each line's floating-point operations; seconds of the gate by prompts."""
    panels: dict[str, dict[str, list[dict]]] = {}
    for panel, lines in sweeps().items():
        panels[panel] = {}
        for name, line in lines.items():
            found = [(n, case, one(case, rounds, f"{panel} {n}")) for n, case in line]
            panels[panel][name] = [{"n": n, "seconds": s, "flops": step_flops(case)} for n, case, s in found]
    return {"panels": panels, "gate": gate(rounds), "requires_grad": gradient_flow(), "counted": counted()}


def one(case: Case, rounds: int, what: str) -> float:
    """Median seconds of a step; the model is gone before the next is built."""
    return median(in_turn({str(case): Step(case)}, rounds, what=what, warm_up=1)[str(case)])


def gate(rounds: int) -> list[dict]:
    """Seconds of the gate with its balance loss, forward and backward, for 12 blocks of DiT-S/2 and 8 samples."""
    width, depth, _ = SIZES["S"]
    e, blocks = torch.randn(8, width), torch.arange(depth, dtype=torch.float32)

    def step(module: nn.Module, noise: torch.Tensor) -> None:
        gates = module(e, blocks, noise)
        (gates.weights.square().sum() + balance_losses(gates)["importance"]).backward()

    def run(prompts: int) -> float:
        module, noise = LinearGate(width, prompts), torch.randn(depth, 8, prompts)
        return median(in_turn({"gate": lambda: step(module, noise)}, 10 * rounds, what=f"{prompts} prompts")["gate"])

    return [{"n": prompts, "seconds": run(prompts)} for prompts in PROMPTS]


def gradient_flow() -> list[bool]:
    """Whether each block's output takes part in the backward pass, for `last:3` of 12."""
    step = Step(Case("dmp", batch=1, injection="last:3"))
    seen: list[bool] = []
    for block in step.method.backbone.blocks:
        block.register_forward_hook(lambda module, args, output: seen.append(output.requires_grad))
    step()
    return seen


def counted() -> dict[str, float]:
    """Operations that torch counts in a step, over those of the formula; it can count attention only unfused."""
    cases = Case("full_finetune", batch=1), Case("dmp", batch=1), Case("dmp", batch=1, injection="last:3")
    found = {}
    for case in cases:
        step = Step(case)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            step()
        found[f"{case.method}, {case.injection}"] = counter.get_total_flops() / step_flops(case)
    return found


def figure(found: dict, path: Path) -> None:
    """Measured points over lines of the arithmetic, which one constant turns into seconds: the machine's speed."""
    measured = [point for lines in found["panels"].values() for points in lines.values() for point in points]
    speed = median(point["flops"] / point["seconds"] for point in measured)
    figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for axis, (panel, lines) in zip(axes.flat, found["panels"].items(), strict=True):
        for name, points in lines.items():
            n, seconds, expected = columns(points, speed)
            axis.plot(n, expected, color=COLOURS[name], alpha=0.5)
            axis.plot(n, seconds, "o", color=COLOURS[name], label=name)
        axis.set(xlabel=panel, ylabel="seconds a step", ylim=(0, None))
        axis.legend()
    axes.flat[3].axvline(TOKENS, color="grey", linestyle=":")
    axes.flat[3].set_xlabel("prompts a block (dotted: one for each token)")
    figure.suptitle(f"DiT-S/2; points measured, lines by arithmetic at {speed / 1e9:.0f} GFLOP/s")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def columns(points: Iterable[dict], speed: float) -> tuple[list[int], list[float], list[float]]:
    """Positions, measured seconds, and seconds by arithmetic."""
    points = list(points)
    return [p["n"] for p in points], [p["seconds"] for p in points], [p["flops"] / speed for p in points]
