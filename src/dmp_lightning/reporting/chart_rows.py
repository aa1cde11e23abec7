"""What the plots of a report show, as rows: means over seeds with a deviation to either side, and each seed."""

from typing import Any

from dmp_lightning.reporting.configs import value_at
from dmp_lightning.reporting.lines import Base, Line
from dmp_lightning.reporting.statistics import spread

DISTANCE, LOSS = "distance", "loss"
FREE = "none (the base)"
STEPS = 1000  # of a schedule whose config does not say it


def change_rows(line: Line, quantity: str) -> list[dict[str, Any]]:
    """Change of the `distance` or of the paired `loss` from the base."""
    changes = line.changes if quantity == DISTANCE else line.losses
    values = [change and change.mean for change in changes]
    return _rows(line, values)


def cost_rows(line: Line, cost: str) -> list[dict[str, Any]]:
    """Fréchet distance, and the cost: `parameters` or `seconds`."""
    values = [run.record.metrics["final"].get(line.base.metric) for run in line.runs]
    seconds = line.seconds
    amount = line.parameters if cost == "parameters" else seconds and seconds.mean
    return [] if amount is None else [row | {"cost": float(amount)} for row in _rows(line, values)]


def free_rows(base: Base) -> list[dict[str, Any]]:
    """The base itself, which costs nothing."""
    if base.distance is None:
        return []
    mean = base.distance.mean
    told = {"line": f"base {base.name}", "method": FREE, "base": base.name, "id": base.id, "cost": 0.0}
    return [told | {"kind": "mean"} | _ends(mean, mean, mean)]


def gains_rows(line: Line) -> list[dict[str, Any]]:
    """Loss minus the base's at each stratum of timesteps, in the middle of it; the band of one seed is its interval."""
    found = [(run, run.record.paired["by_stratum"]) for run in line.runs if run.record.paired.get("by_stratum")]
    if not found:
        return []
    count = len(found[0][1]["mean"])
    said = value_at(line.runs[0].record.config, "diffusion.betas.steps")
    steps = said if type(said) is int and 0 < said < 2**31 else STEPS
    rows: list[dict[str, Any]] = []
    for index in range(count):
        t = (index + 0.5) * steps / count
        values = [strata["mean"][index] for _, strata in found]
        whole = spread(values)
        if whole is None:
            continue
        for (run, _), value in zip(found, values, strict=True):
            rows.append(
                {"id": line.id, "line": line.name, "kind": "seed", "seed": str(run.seed), "t": t, "mean": value}
            )
        low, high = (found[0][1][end][index] for end in ("low", "high"))
        low, high = (whole.mean if end is None else end for end in (low, high))
        if whole.deviation is not None:
            low, high = whole.mean - whole.deviation, whole.mean + whole.deviation
        rows.append({"id": line.id, "line": line.name, "kind": "mean", "t": t} | _ends(whole.mean, low, high))
    return rows


def _rows(line: Line, values: list[float | None]) -> list[dict[str, Any]]:
    whole = spread(values)
    if whole is None:
        return []
    told: dict[str, Any] = {"line": line.name, "method": line.method, "base": line.base.name, "id": line.id}
    rows = [
        told | {"kind": "seed", "seed": str(run.seed), "mean": value}
        for run, value in zip(line.runs, values, strict=True)
    ]
    deviation = whole.deviation or 0.0
    ends = _ends(whole.mean, whole.mean - deviation, whole.mean + deviation)
    return [*rows, told | {"kind": "mean", "seeds": len(values)} | ends]


def _ends(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "low": low, "high": high}
