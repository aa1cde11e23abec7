"""Samples and gates of each line, of its first seed that left evidence, as pictures for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmp_lightning.reports.evidence import captions_of, read_evidence
from dmp_lightning.reports.gate_usage import (
    Gates,
    gates_of,
    grid_of_earlier,
    on_grid,
    shown_timesteps,
    similarity,
    usage,
)
from dmp_lightning.reports.lines import Line
from dmp_lightning.reports.pictures import heat_map, mosaic, scale_of
from dmp_lightning.runs.records import Run
from dmp_lightning.runs.texts import visible

COLUMNS = 8  # of samples


@dataclass(frozen=True)
class Samples:
    """Samples of one run from the same noise, as `data:` addresses of pictures; `small` ones are enlarged.

    `captions` are those of texts, else there are none; `columns`, of the mosaic.
    """

    line: Line
    run: Run
    before: str
    after: str
    count: int
    small: bool
    columns: int
    captions: list[str]


@dataclass(frozen=True)
class Block:
    """Pictures of the gate of one block, as `data:` addresses; `grids` are empty where prompts have no place."""

    index: int
    weights: str
    similarity: str
    grids: list[str]


@dataclass(frozen=True)
class GateMaps:
    """Pictures of the gates of one run; `weights` and `similarity` are ends of scales, `shown` the grids' timesteps."""

    line: Line
    run: Run
    blocks: list[Block]
    prompts: int
    timesteps: tuple[float, float]
    shown: list[float]
    weights: tuple[float, float]
    similarity: tuple[float, float]


@dataclass(frozen=True)
class UsageRow:
    """Use of the prompts of one block of a line: each quantity for every seed that left evidence."""

    line: Line
    block: int
    prompts: int
    entropy: list[float]
    effective: list[float]
    at_once: list[float]
    dead: list[float]


@dataclass(frozen=True)
class Gallery:
    """All that the evidence of the lines shows."""

    samples: list[Samples]
    gates: list[GateMaps]
    usage: list[UsageRow]


def build_gallery(lines: Sequence[Line], warnings: list[str]) -> Gallery:
    """Read the evidence of all lines; what is damaged is told in `warnings`."""
    gallery = Gallery([], [], [])
    for line in lines:
        first: tuple[Run, dict[str, np.ndarray]] | None = None
        found: list[tuple[Run, Gates]] = []
        for run in line.runs:  # of all but the first only the gates are kept: samples may be large
            tensors = _read(run, warnings)
            first = first or ((run, tensors) if tensors else None)
            gates = gates_of(tensors)
            if gates is not None:
                found.append((run, gates))
        if first is None:
            continue
        run, tensors = first
        gallery.samples.append(_samples(line, run, tensors))
        alike = _alike(found, warnings)
        if alike:
            gallery.gates.append(_maps(line, run, alike[0]))
            gallery.usage.extend(_usage(line, alike))
    return gallery


def _read(run: Run, warnings: list[str]) -> dict[str, np.ndarray]:
    try:
        return {} if run.evidence is None else read_evidence(run.evidence)
    except ValueError as error:
        warnings.append(visible(error))
        return {}


def _alike(found: Sequence[tuple[Run, Gates]], warnings: list[str]) -> list[Gates]:
    """The gates of the seeds of a line that are of the same blocks and prompts as the first."""
    kept: list[Gates] = []
    for run, gates in found:
        first = kept[0] if kept else gates
        if (gates.blocks, gates.norms.shape) == (first.blocks, first.norms.shape):
            kept.append(gates)
        else:
            warnings.append(
                f"{run.where}: its gates are left out: they have other blocks or prompts than {found[0][0].where}."
            )
    return kept


def _samples(line: Line, run: Run, tensors: Mapping[str, np.ndarray]) -> Samples:
    before, after = tensors["samples_before"], tensors["samples_after"]
    columns = min(COLUMNS, len(before))
    small = before.shape[-1] < 96
    captions = [visible(caption) for caption in captions_of(tensors)]
    return Samples(line, run, mosaic(before, columns), mosaic(after, columns), len(before), small, columns, captions)


def _maps(line: Line, run: Run, gates: Gates) -> GateMaps:
    alike = similarity(gates)
    scale, alike_scale = scale_of(gates.weights), (min(0.99, float(alike.min())), 1.0)
    shown = shown_timesteps(gates.timesteps)
    grid = gates.grid or grid_of_earlier(gates.weights.shape[-1], line.config)
    grids = None if grid is None else on_grid(gates.weights[:, shown], grid)
    blocks = [
        Block(
            block,
            heat_map(gates.weights[row].T, *scale),
            heat_map(alike[row], *alike_scale),
            [] if grids is None else [heat_map(grid, *scale) for grid in grids[row]],
        )
        for row, block in enumerate(gates.blocks)
    ]
    times = [round(time, 2) for time in gates.timesteps.tolist()]
    ends, at = (times[0], times[-1]), [times[index] for index in shown]
    return GateMaps(line, run, blocks, gates.weights.shape[-1], ends, at, scale, alike_scale)


def _usage(line: Line, gates: Sequence[Gates]) -> list[UsageRow]:
    found = [usage(each) for each in gates]
    return [
        UsageRow(
            line,
            block,
            gates[0].weights.shape[-1],
            [float(each.entropy[row]) for each in found],
            [float(each.effective[row]) for each in found],
            [float(each.at_once[row]) for each in found],
            [float(each.dead[row].sum()) for each in found],
        )
        for row, block in enumerate(gates[0].blocks)
    ]
