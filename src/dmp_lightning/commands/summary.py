"""The end of a run: its record, its table with the committed controls, and its verdict."""

import logging
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import nn

from dmp_lightning.data.stream import DiffusionData
from dmp_lightning.metrics.moments import Counts
from dmp_lightning.reports.statistics import Interval
from dmp_lightning.reports.tables import Row, print_table, verdict
from dmp_lightning.runs.record import Results, provenance, read_results, write_results
from dmp_lightning.training.outcome import Evaluation, Outcome
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

WIDTH = 160  # characters of a table that goes into a file or a pipe


@dataclass(frozen=True)
class Measured:
    """One model of this run: its label, how many parameters were trained, and what validation found."""

    label: str
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
    name = evaluation.generation.frechet.name
    base = sum(parameter.numel() for parameter in backbone.parameters())
    counts = evaluation.generation.counts(len(data.train))
    rows = [_row(entry, name, base, counts) for entry in measured]
    last = measured[-1].outcome
    metrics = {name: last.frechet, "loss": last.loss, "validation_seconds": last.validation_seconds}
    if last.comparison is not None:
        metrics["loss_difference"] = last.comparison.overall.mean.item()
    if not trainer.is_global_zero:
        return metrics
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    results = Results(
        name=config.name,
        method=measured[-1].label,
        config={str(key): value for key, value in container.items()},
        seeds={"training": config.seed, "evaluation": config.evaluation.seed},
        metrics={
            "base": _metrics(measured[0].outcome, name),
            "final": _metrics(last, name),
            "counts": counts._asdict() | {"too_few": counts.too_few},
        },
        paired=_paired(last),
        rows=[asdict(row) for row in rows],
        **provenance(str(trainer.strategy.root_device)),
    )
    write_results(results, run_dir / "results.json")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    print_table([*rows, *committed(config.controls)], console)
    if last.frechet_change is not None and last.comparison is not None:
        loss = Interval(*(part.item() for part in last.comparison.overall))
        change = Interval(*last.frechet_change[:3])
        print(verdict(measured[-1].label, _features(name), change, loss, counts.samples, counts.too_few))
    print(f"Training took {last.training_seconds:.0f} s, validation {last.validation_seconds:.0f} s more.")
    print(f"Pictures, results.json and weights: {run_dir}")
    return metrics


def committed(folder: str | None) -> list[Row]:
    """The last row of each record in `folder`, marked with where it is from."""
    rows = []
    for path in sorted(Path(folder).glob("*.json")) if folder else []:
        try:
            record = read_results(path)
            if not record.rows:
                raise UserError(f"{path} is not the record of a training.")
        except ValueError as error:
            log.warning("Left out of the table: %s", error)
            continue
        row = record.rows[-1]
        difference = Interval(*row["difference"]) if row["difference"] and None not in row["difference"] else None
        rows.append(replace(Row(**row), difference=difference, origin=f"committed: experiments/{record.name}"))
    return rows


def _row(entry: Measured, name: str, base: int, counts: Counts) -> Row:
    comparison, outcome = entry.outcome.comparison, entry.outcome
    difference = comparison and Interval(*(part.item() for part in comparison.overall))
    frechet: dict[str, float | None] = {_features(name): outcome.frechet}
    seconds, memory = outcome.training_seconds, outcome.memory
    return Row(entry.label, "this run", frechet, difference, entry.trained, base, seconds, memory, counts.too_few)


def _metrics(outcome: Outcome, name: str) -> dict[str, object]:
    return {
        name: outcome.frechet,
        f"{name}_change": outcome.frechet_change and outcome.frechet_change._asdict(),
        "loss": outcome.loss,
        "training_seconds": outcome.training_seconds,
        "validation_seconds": outcome.validation_seconds,
        "peak_memory_mib": outcome.memory,
    }


def _paired(outcome: Outcome) -> dict[str, object]:
    """The paired comparison in plain containers; empty for the base itself."""
    found = outcome.comparison
    if found is None:
        return {}
    return {"overall": found.overall._asdict() | {"groups": found.groups}, "by_stratum": found.by_stratum._asdict()}


def _features(name: str) -> str:
    """What a Fréchet distance was measured on, as the table names it."""
    return "Inception-v3: FID" if name == "fid" else name.removeprefix("frechet_").replace("_", " ")
