"""Wall times of things that are run in turn, so that a busy machine slows all alike."""

import time
from collections.abc import Callable, Mapping
from statistics import median, quantiles

import torch
from tqdm import tqdm

Times = dict[str, list[float]]


def seconds(
    function: Callable[[], object], device: str = "cpu", clock: Callable[[], float] = time.perf_counter
) -> float:
    """Time of one call: wall time, or that of another clock."""
    start = clock()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def in_turn(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    what: str = "",
    warm_up: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Times of all functions, one call each a round, without those of the first `warm_up` rounds."""
    times: Times = {name: [] for name in functions}
    bar = tqdm(total=(rounds + warm_up) * len(functions), desc=what, leave=False)
    for number in range(rounds + warm_up):
        for name, function in functions.items():
            bar.set_postfix_str(name)
            taken = seconds(function, device, clock)
            if number >= warm_up:
                times[name].append(taken)
            bar.update()
    bar.close()
    return times


def row(what: str, values: list[float], bound: float | None = None) -> dict:
    """Median and quartiles of repeated measurements, and what the median must not exceed."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"what": what, "value": median(values), "low": low, "high": high, "bound": bound}


def ratios(times: Times, name: str, unit: str) -> list[float]:
    """One time over the other, round by round."""
    return [mine / other for mine, other in zip(times[name], times[unit], strict=True)]
