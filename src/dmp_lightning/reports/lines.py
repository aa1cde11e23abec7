"""The lines of a report: runs of one config over seeds, each beside the base that they all started from."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from dmp_lightning.intervals import Interval, Spread, as_interval, over_seeds, spread
from dmp_lightning.runs.records import Run
from dmp_lightning.runs.said import Flat

Item = TypeVar("Item")
LOSS, STRATA = "loss_difference", "loss_difference_by_stratum"  # among the metrics of a run


@dataclass
class Base:
    """A frozen control: the base as all runs on it found it before they trained.

    `measure` says on what quality was measured; it cannot be compared with that of another. `distance` and `loss` are
    over all those runs. `too_few` says that the distance is of no more samples or reference images than features.
    """

    name: str
    measure: str
    metric: str
    distance: Spread | None
    loss: Spread | None
    parameters: int
    runs: list[Run]
    too_few: bool = False
    id: str = ""


@dataclass
class Line:
    """Runs of equal base, measure and method, one for each seed, in the order of their seeds.

    `method` is what was done, whatever its settings; `config` are all settings that its records say; `axes` are the
    values on the axes of its sweep, if it is from one.
    """

    name: str
    method: str
    base: Base
    config: Flat
    runs: list[Run]
    axes: dict[str, str] = field(default_factory=dict)
    sweep: str = ""
    id: str = ""

    @property
    def slug(self) -> str:
        """A name for files."""
        words = re.sub(r"[^a-z0-9.]+", "-", f"{self.base.name} {self.name}".lower()).strip("-")
        return f"{self.id.removeprefix('line-')}-{words[:60]}"

    @property
    def distance(self) -> Spread | None:
        """Fréchet distance."""
        return spread([run.final.get(self.base.metric) for run in self.runs])

    @cached_property
    def changes(self) -> list[Interval | None]:
        """Change of the distance from the base, for each seed, with the interval over that run's samples."""
        return [as_interval(run.final.get(f"{self.base.metric}_change")) for run in self.runs]

    @cached_property
    def change(self) -> Interval | None:
        """Change of the distance from the base."""
        return over_seeds(self.changes)

    @cached_property
    def losses(self) -> list[Interval | None]:
        """Paired validation loss minus the base's, for each seed, with the interval over the images."""
        return [as_interval(run.final.get(LOSS)) for run in self.runs]

    @cached_property
    def loss(self) -> Interval | None:
        """Paired validation loss minus the base's."""
        return over_seeds(self.losses)

    @property
    def parameters(self) -> int:
        """That were trained and are kept."""
        return self.runs[0].record.method.parameters

    @property
    def machine(self) -> str:
        """The kind of machine that its runs have in common; nothing where it differs."""
        kinds = {f"{run.record.machine.get('device')}, {run.record.machine.get('cpus')} CPUs" for run in self.runs}
        return kinds.pop() if len(kinds) == 1 else ""

    @property
    def seconds(self) -> Spread | None:
        """Of training, where the machines are of one kind: others cannot be averaged."""
        return spread([run.final.get("training_seconds") for run in self.runs]) if self.machine else None

    @property
    def memory(self) -> Spread | None:
        """Its peak in MiB, in the same way."""
        return spread([run.final.get("peak_memory_mib") for run in self.runs]) if self.machine else None


def groups_of(change: Mapping[str, Any] | None) -> list[float]:
    """A change in a record without each group of samples in turn; empty where that is not known."""
    groups = (change or {}).get("groups") or []
    return [] if None in groups else groups


def grouped(items: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    """Items with the same key together, in the order in which they come."""
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
