"""The end of a run: its record, its table with the committed controls, and its verdict."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from omegaconf import DictConfig
from rich.console import Console
from torch import nn

from dmp_lightning.commands.earlier import settings_of
from dmp_lightning.data.stream import DiffusionData
from dmp_lightning.intervals import Interval
from dmp_lightning.reports.tables import Row, features_of, print_table, rows_of, verdict
from dmp_lightning.runs.folder import RESULTS
from dmp_lightning.runs.record import Results, provenance, read_results, write_results
from dmp_lightning.runs.said import SaidBase, SaidMeasure, SaidMethod, base_name, in_sweep, parts
from dmp_lightning.training.outcome import Evaluation, Outcome
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

WIDTH = 160  # characters of a table that goes into a file or a pipe


@dataclass(frozen=True)
class Measured:
    """One model of this run: label, kind of method, how many parameters were trained, and what validation found."""

    label: str
    kind: str
    trained: int
    outcome: Outcome


def summarise(
    config: DictConfig,
    measured: list[Measured],
    evaluation: Evaluation,
    backbone: nn.Module,
    data: DiffusionData,
    trainer: L.Trainer,
    run_dir: Path,
) -> dict[str, float]:
    """Write `results.json` into `run_dir`, print the table and the verdict, and return the final metrics by name."""
    name, last = evaluation.generation.frechet.name, measured[-1].outcome
    metrics = {name: last.frechet, "loss": last.loss, "validation_seconds": last.validation_seconds}
    if last.comparison is not None:
        metrics["loss_difference"] = last.comparison.overall.interval.mean
    if not trainer.is_global_zero:
        return metrics
    plain = settings_of(config)
    said, counts = parts(plain), evaluation.generation.counts(len(data.train))
    few = [name] if counts.too_few else []
    results = Results(
        name=config.name,
        base=SaidBase(base_name(plain), sum(weight.numel() for weight in backbone.parameters()), said.base),
        measure=SaidMeasure(name, counts.reference_images, counts.features, few, said.measure),
        method=SaidMethod(measured[-1].label, measured[-1].kind, measured[-1].trained, said.method),
        **in_sweep(plain),
        config=plain,
        seeds={"training": config.seed, "evaluation": config.evaluation.seed},
        metrics={"base": _metrics(measured[0].outcome, name), "final": _metrics(last, name)},
        **provenance(str(trainer.strategy.root_device)),
    )
    write_results(results, run_dir / RESULTS)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    print_table([*rows_of(results), *committed(config.controls)], console)
    if last.frechet_change is not None and last.comparison is not None:
        change, loss = last.frechet_change.interval, last.comparison.overall.interval
        print(verdict(measured[-1].label, features_of(name), change, loss, counts.samples, counts.too_few))
    print(f"Training took {last.training_seconds:.0f} s, validation {last.validation_seconds:.0f} s more.")
    print(f"Pictures, results.json and weights: {run_dir}")
    return metrics


def committed(folder: str | None) -> list[Row]:
    """The last row of each record in `folder`, marked with where it is from."""
    rows = []
    for path in sorted(Path(folder).glob("*.json")) if folder else []:
        try:
            record = read_results(path)
            if "final" not in record.metrics:
                raise UserError(f"{path} is not the record of a training.")
        except ValueError as error:
            log.warning("Left out of the table: %s", error)
            continue
        rows.append(rows_of(record, f"committed: experiments/{record.name}")[-1])
    return rows


def _metrics(outcome: Outcome, name: str) -> dict[str, object]:
    """The numbers of a model; changes are only of one that was compared with the base."""
    found: dict[str, object] = {name: outcome.frechet}
    if outcome.frechet_change is not None:
        found[f"{name}_change"] = outcome.frechet_change.plain()
    found["loss"] = outcome.loss
    if outcome.comparison is not None:
        found["loss_difference"] = outcome.comparison.overall.plain()
        strata = zip(*outcome.comparison.by_stratum, strict=True)
        found["loss_difference_by_stratum"] = dict(zip(Interval._fields, strata, strict=True)) | {"t": outcome.times}
    return found | {
        "training_seconds": outcome.training_seconds,
        "validation_seconds": outcome.validation_seconds,
        "peak_memory_mib": outcome.memory,
    }
