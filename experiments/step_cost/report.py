"""The tables of a benchmark as Markdown."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import mean, median, stdev
from typing import Any


def markdown(record: dict[str, Any]) -> str:
    """All parts that were measured, in the order of the record."""
    made: dict[str, Callable[[Any], str]] = {
        "bounds": bounds,
        "memory": memory,
        "foreign": bounds,
        "foreign_memory": partial(memory, what="step with a patch, one picture of 1024 x 1024, float32"),
        "profile": profile,
        "growth": growth,
        "samplers": samplers,
        "gpu": gpu,
    }
    return "\n".join(
        f"### {name.capitalize()}\n\n{where(part)}\n\n{made[name](part['found'])}" for name, part in record.items()
    )


def where(part: dict[str, Any]) -> str:
    told = part | part["machine"]  # where earlier records have card and processor beside it
    on = told["card"] or f"{told['threads']} threads of {told['cpus']} cores, {told['processor']}"
    return f"Commit `{part['commit'][:7]}`, {on}, torch {part['versions']['torch']}: `{part['command']}`."


def bounds(rows: list[dict]) -> str:
    lines = [
        [
            row["what"],
            f"{row['value']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            bound(row["value"], row["bound"]),
        ]
        for row in rows
    ]
    return table(["what", "median", "quartiles", "at most"], lines)


def memory(rows: list[dict], what: str = "dmp step, DiT-L/2, batch 1") -> str:
    lines = [
        [
            row["what"],
            f"{row['peak']:,.0f}",
            f"{row['libraries']:,.0f}",
            f"{row['weights']:,.0f}",
            f"{min(row['seconds']):.1f}",
            bound(row["peak"], row["bound"]),
        ]
        for row in rows
    ]
    return table([what, "peak MiB", "libraries", "weights", "seconds", "at most"], lines)


def profile(found: dict) -> str:
    lines = [[name, f"{share:.2%}"] for name, share in found["shares"].items()]
    lines.append(["**gate, prompts and balance losses**", f"{found['ours']:.2%}"])
    parts = table([f"{found['case']}, batch {found['batch']}", "share of the time"], lines)
    operators = table(
        ["largest of ours", "share"], [[name, f"{share:.2%}"] for name, share in found["operators"].items()]
    )
    verdict = bound(100 * found["ours"], 100 * found["bound"])
    return f"{parts}\nBound of ours, per cent: {verdict}.\n\n{operators}"


def growth(found: dict) -> str:
    parts = []
    for panel, lines in found["panels"].items():
        first = next(iter(lines.values()))
        rows = [[f"{name}, seconds", *[f"{p['seconds']:.2f}" for p in points]] for name, points in lines.items()]
        rows += [[f"{name}, GFLOP", *[f"{p['flops'] / 1e9:,.0f}" for p in points]] for name, points in lines.items()]
        parts.append(table([panel, *[str(point["n"]) for point in first]], rows))
    gate = found["gate"]
    parts.append(
        table(["prompts", *[str(p["n"]) for p in gate]], [["gate, ms", *[f"{1e3 * p['seconds']:.2f}" for p in gate]]])
    )
    flow = found["requires_grad"]
    ratios = ", ".join(f"{name} {ratio:.3f}" for name, ratio in found["counted"].items())
    parts.append(f"Operations that torch counts in a step, over the formula's: {ratios}.\n")
    parts.append(f"With `last:3` of {len(flow)} blocks, {sum(flow)} take part in the backward pass.\n")
    return "\n".join(parts)


def samplers(found: dict) -> str:
    parts = []
    for model, result in found.items():
        solvers = result["solvers"]
        steps = list(next(iter(solvers.values()))["distances"])
        head = [f"{model}: DDPM-250 {result['mean']:.2f} ± {result['spread']:.2f}", *map(str, steps), "reached by"]
        lines = [
            [solver, *[f"{mean(each):.2f} ± {stdev(each):.2f}" for each in row["distances"].values()], reached(row)]
            for solver, row in solvers.items()
        ]
        fewest = min((row["suffices"] for row in solvers.values() if row["suffices"]), default=float("inf"))
        parts.append(f"{table(head, lines)}\nFewest: {fewest}, at most {bound(fewest, result['bound'])}.\n")
    return "\n".join(parts)


def reached(solver: dict) -> str:
    return str(solver["suffices"] or "–")


def gpu(rows: list[dict]) -> str:
    lines = []
    for row in rows:
        unit = next(other for other in rows if other["size"] == row["size"])
        if row["seconds"] is None:
            lines.append([row["what"], "out of memory", "–", "–"])
            continue
        taken = median(row["seconds"])
        relative = "–" if unit["seconds"] is None else f"{taken / median(unit['seconds']):.2f}"
        lines.append([row["what"], f"{1e3 * taken:.1f}", relative, f"{row['peak']:,.0f}"])
    return table(["batch 32", "ms", "of full fine-tuning", "peak MiB"], lines)


def bound(value: float, most: float | None) -> str:
    return "" if most is None else f"{most:,g}{'' if value <= most else ' **missed**'}"


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown, the first column to the left and numbers to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *lines))
