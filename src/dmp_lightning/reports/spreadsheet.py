"""All runs of a report as CSV, one line each."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from dmp_lightning.reports.lines import LOSS, Base, Line
from dmp_lightning.runs.records import Run
from dmp_lightning.runs.texts import in_csv


def csv_table(bases: Iterable[Base], lines: Iterable[Line]) -> str:
    """One line a run, frozen ones too, with a header."""
    lines = list(lines)
    axes = list(dict.fromkeys(axis for line in lines for axis in line.axes))
    counted = [(run, line.base, line.name, line.method, line.axes) for line in lines for run in line.runs]
    frozen = [
        (run, base, base.name, "frozen", dict[str, str]())
        for base in bases
        for run in base.runs
        if not run.record.trained
    ]
    rows = [_run_row(run, base) | _told(name, method, told, axes) for run, base, name, method, told in counted + frozen]
    with io.StringIO(newline="") as file:
        names = list(rows[0]) if rows else ["path"]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: in_csv(value) for name, value in row.items()} for row in rows)
        return file.getvalue()


def _told(name: str, method: str, told: dict[str, str], axes: list[str]) -> dict[str, Any]:
    return {"line": name, "method": method} | {f"axis: {axis}": told.get(axis, "") for axis in axes}


def _run_row(run: Run, base: Base) -> dict[str, Any]:
    record, final = run.record, run.final
    change, loss = final.get(f"{base.metric}_change") or {}, final.get(LOSS) or {}
    return {
        "path": run.where,
        "base": base.name,
        "measure": base.measure,
        "seed": run.seed,
        "distance": final.get(base.metric),
        "change": change.get("mean"),
        "change_low": change.get("low"),
        "change_high": change.get("high"),
        "loss": final.get("loss"),
        "loss_difference": loss.get("mean"),
        "loss_difference_low": loss.get("low"),
        "loss_difference_high": loss.get("high"),
        "trained_parameters": record.method.parameters,
        "base_parameters": record.base.parameters,
        "training_seconds": final.get("training_seconds"),
        "peak_memory_mib": final.get("peak_memory_mib"),
        "commit": record.commit,
        "device": record.machine.get("device"),
    }
