"""The rows that plots draw: means over seeds with their intervals or deviations, and each seed."""

from typing import Any

from dmp_lightning.intervals import Interval, around, as_interval, over_seeds
from dmp_lightning.reports.drawn import SEEDS
from dmp_lightning.reports.lines import STRATA, Base, Line

DISTANCE, LOSS = "distance", "loss"
FREE = "none (the base)"
STEPS = 1000  # of a schedule whose config does not say it, in records of earlier versions, which have no times


def change_rows(line: Line, quantity: str) -> list[dict[str, Any]]:
    """Change of the `distance` or of the paired `loss` from the base, with its 95% interval as in the table."""
    changes, found = (line.changes, line.change) if quantity == DISTANCE else (line.losses, line.loss)
    return _rows(line, [change and change.mean for change in changes], found)


def cost_rows(line: Line, cost: str) -> list[dict[str, Any]]:
    """Fréchet distance with its deviation over seeds, and the cost: `parameters` or `seconds`."""
    values = [run.final.get(line.base.metric) for run in line.runs]
    whole = line.distance
    deviated = whole and around(whole.mean, whole.deviation or 0.0)
    seconds = line.seconds
    amount = line.parameters if cost == "parameters" else seconds and seconds.mean
    return [] if amount is None else [row | {"cost": float(amount)} for row in _rows(line, values, deviated)]


def free_rows(base: Base) -> list[dict[str, Any]]:
    """The base itself, which costs nothing."""
    if base.distance is None:
        return []
    mean = base.distance.mean
    told = {"line": f"base {base.name}", "method": FREE, "base": base.name, "id": base.id, "cost": 0.0}
    return [told | {"kind": "mean"} | Interval(mean, mean, mean)._asdict()]


def gains_rows(line: Line) -> list[dict[str, Any]]:
    """Loss minus the base's at each stratum of timesteps, in the middle of it, with its 95% interval over all seeds,
    and that of each of the first seeds."""
    found = [(run, strata) for run in line.runs if (strata := run.final.get(STRATA))]
    if not found:
        return []
    count = len(found[0][1]["mean"])
    said = line.config.get("diffusion.betas.steps", "")
    steps = int(said) if said.isascii() and said.isdigit() and 0 < int(said) < 2**31 else STEPS
    rows: list[dict[str, Any]] = []
    times = found[0][1].get("t") or [(index + 0.5) * steps / count for index in range(count)]
    for index, t in enumerate(times):
        changes = [as_interval({end: strata[end][index] for end in Interval._fields}) for _, strata in found]
        whole = over_seeds(changes)
        if whole is None:
            continue
        for (run, _), change in zip(found[:SEEDS], changes[:SEEDS], strict=True):
            assert change is not None  # then there would be no estimate
            rows.append(
                {"id": line.id, "line": line.name, "kind": "seed", "seed": str(run.seed), "t": t, "mean": change.mean}
            )
        rows.append({"id": line.id, "line": line.name, "kind": "mean", "t": t} | whole._asdict())
    return rows


def _rows(line: Line, values: list[float | None], interval: Interval | None) -> list[dict[str, Any]]:
    if interval is None:
        return []
    told: dict[str, Any] = {"line": line.name, "method": line.method, "base": line.base.name, "id": line.id}
    rows = [
        told | {"kind": "seed", "seed": str(run.seed), "mean": value}
        for run, value in zip(line.runs, values, strict=True)
    ]
    return [*rows, told | {"kind": "mean", "seeds": len(values)} | interval._asdict()]
