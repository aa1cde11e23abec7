"""The shape of a record: the type of each field that is read from `results.json` and `failed.json`.

A record may come from anybody. What has a field of another type is refused here, so readers rely on the types.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dmp_lightning.user_error import UserError

LARGEST = 1e30  # of a measured number, so that squares and sums are finite

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Shape(BaseModel):
    """Fields with their types; nothing is converted, and a field that is not named may be anything."""

    model_config = ConfigDict(strict=True)


class Change(Shape):
    """A mean, the ends of its interval, and the mean without each group in turn; null where a run found no number."""

    model_config = ConfigDict(extra="forbid")
    mean: Number | None
    low: Number | None
    high: Number | None
    groups: list[Number | None] | None = Field(default=None, max_length=1000)


class Changes(Shape):
    """A change for each part of the process, and the time in the middle of each, which earlier versions did not say."""

    model_config = ConfigDict(extra="forbid")
    mean: list[Number | None] = Field(min_length=1, max_length=100_000)
    low: list[Number | None]
    high: list[Number | None]
    t: list[Number] | None = None

    @model_validator(mode="after")
    def _of_one_length(self) -> "Changes":
        if not len(self.mean) == len(self.low) == len(self.high) == len(self.t or self.mean):
            raise UserError("mean, low, high and t should have the same length")
        return self


class Quality(Shape):
    """Metrics of one model: distances and their changes, which are told apart by name, and what else is read."""

    distances: dict[str, Number | None] = Field(min_length=1)
    changes: dict[str, Change | None]
    loss: Number | None = None
    loss_difference: Change | None = None
    loss_difference_by_stratum: Changes | None = None
    training_seconds: Number | None = None
    peak_memory_mib: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_kind(cls, found: Any) -> Any:
        if not isinstance(found, dict):
            return found  # and is refused
        distances = {name: value for name, value in found.items() if is_distance(name)}
        changes = {name: value for name, value in found.items() if name.endswith("_change")}
        others = {name: found.get(name) for name in cls.model_fields if name not in ("distances", "changes")}
        return others | {"distances": distances, "changes": changes}


class Metrics(Shape):
    base: Quality
    final: Quality


class Base(Shape):
    model_config = ConfigDict(extra="forbid")
    name: str
    parameters: int = Field(ge=1, lt=2**63)
    settings: dict[str, str]


class Measure(Shape):
    model_config = ConfigDict(extra="forbid")
    metric: str | None
    reference_images: Count | None
    features: Count | None
    too_few: list[str]
    settings: dict[str, str]


class Method(Shape):
    model_config = ConfigDict(extra="forbid")
    label: str
    kind: str
    parameters: Count
    settings: dict[str, str]


class Seeds(Shape):
    """Seeds by name; a measurement may have used several of a kind."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Seed | list[Seed]]
    training: Seed = 0


class Machine(Shape):
    platform: str | None = None
    processor: str | None = None
    device: str | None = None
    card: str | None = None
    cpus: int | None = Field(default=None, ge=0, lt=2**31)


class Common(Shape):
    """The fields that the records of all commands have; each reader looks at as much of a config as it needs."""

    name: str
    base: Base
    measure: Measure
    method: Method
    sweep: str | None
    axes: dict[str, Any]
    config: dict[str, Any]
    seeds: Seeds
    versions: dict[str, str]
    commit: str
    machine: Machine
    command: str


class RunRecord(Common):
    """The record of a training."""

    metrics: Metrics

    @model_validator(mode="after")
    def _has_its_distance(self) -> "RunRecord":
        if self.measure.metric not in self.metrics.final.distances:
            raise UserError(f"metrics.final should hold the metric {self.measure.metric}")
        return self


class OtherRecord(Common):
    """The record of an evaluation or of another measurement."""

    metrics: dict[str, Any]


class FailedRecord(Shape):
    """A job that failed."""

    error: str
    command: str | None = None


def check(shape: type[Shape], content: Any) -> None:
    """Make sure that `content` has this shape.

    Raises:
        UserError: it has not; the sentence names the first field that is wrong, and what is.
    """
    try:
        shape.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("distances", "changes"))
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise UserError(f"{place or 'it'} {reason}" if first["type"] != "missing" else f"{place} is missing") from error


def is_distance(name: str) -> bool:
    """Whether a metric of this name is a Fréchet distance."""
    return (name == "fid" or name.startswith("frechet_")) and not name.endswith("_change")
