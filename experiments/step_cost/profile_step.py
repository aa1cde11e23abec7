"""Where the time of a step of DMP goes, by torch.profiler: each operator counts for the part whose code called it.

An operator of the backward pass belongs to the part whose forward operator it differentiates; autograd numbers both
alike.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from steps import Case, Step
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

FORWARD, BACKWARD = "backbone, forward", "backbone, backward"
OURS = ("gate", "prompts", "balance losses")
OPTIMISER, OBJECTIVE, DRAWS, REST = "optimiser", "objective", "noise", "rest"
BOUND = 0.02
BACKWARD_NODE = "autograd::engine::evaluate_function: "


def measure(rounds: int, case: Case | None = None, device: str = "cpu") -> dict:
    """Each part's share of the time of `rounds` steps, and the operators that take most of ours."""
    step = Step(case or Case("dmp"), device)
    instrument(step)
    step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as profiled:
        for _ in range(rounds):
            with record_function(REST):
                step()
    times, operators = by_part(profiled.events() or [], device)
    total = sum(times.values())
    shares = {name: time / total for name, time in sorted(times.items(), key=lambda item: -item[1])}
    return {
        "case": str(step.case),
        "batch": step.case.batch,
        "shares": shares,
        "ours": sum(shares.get(name, 0.0) for name in OURS),
        "bound": BOUND,
        "operators": {" ".join(key): time / total for key, time in operators.most_common(8)},
    }


def instrument(step: Step) -> None:
    """Make each part announce itself to the profiler."""
    method = step.method
    backbone = [method.backbone.x_embedder, method.backbone.t_embedder, method.backbone.final_layer]
    for module in [*backbone, *method.backbone.blocks]:
        announce(module, "forward", FORWARD)
    for name, part in zip(("prepare", "enter", "auxiliary"), OURS, strict=True):
        announce(method, name, part)
    announce(step.process, "losses", OBJECTIVE)
    announce(step.process, "add_noise", DRAWS)
    announce(step, "draw", DRAWS)
    announce(step.optimizer, "step", OPTIMISER)


def announce(owner: Any, name: str, part: str) -> None:
    function: Callable[..., Any] = getattr(owner, name)

    def announced(*arguments: Any, **options: Any) -> Any:
        with record_function(part):
            return function(*arguments, **options)

    setattr(owner, name, announced)


def by_part(events: Iterable[Any], device: str) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Time of each part, and of each operator of our parts."""
    on_host = (event for event in events if event.device_type == DeviceType.CPU)  # these know their kernels' time
    events = sorted(on_host, key=lambda event: event.time_range.start)
    # Views of one operator share its number; the operator that autograd noted is the last of them.
    forward = {event.sequence_nr: part_above(event) for event in events if event.sequence_nr >= 0 and not node(event)}
    times: Counter[str] = Counter()
    operators: Counter[tuple[str, str]] = Counter()
    for event in events:
        taken = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        of = node(event)
        part = part_above(event) if of is None else part_of_backward(of, forward)
        times[part] += taken
        if part in OURS and taken:
            operators[(part, event.name)] += taken
    return times, operators


def node(event: Any) -> Any:
    """The step of the backward pass that an event belongs to, or None."""
    while event is not None and not event.name.startswith(BACKWARD_NODE):
        event = event.cpu_parent
    return event


def part_above(event: Any) -> str:
    """The innermost part that an event lies in."""
    parts = (FORWARD, *OURS, OPTIMISER, OBJECTIVE, DRAWS)
    while event is not None and event.name not in parts:
        event = event.cpu_parent
    return REST if event is None else event.name


def part_of_backward(of: Any, forward: dict[int, str]) -> str:
    """The part whose operator a step of the backward pass differentiates; the patch's gradients are the gate's."""
    numbers = [child.sequence_nr for child in [of, *of.cpu_children] if child.sequence_nr >= 0]
    if "AccumulateGrad" in of.name:
        return "prompts"
    part = forward.get(numbers[0], REST) if numbers else REST
    return BACKWARD if part == FORWARD else part
