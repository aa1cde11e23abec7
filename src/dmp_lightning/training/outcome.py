"""The hooks of a validation and their findings, in one place."""

import resource
import sys
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor

from dmp_lightning.intervals import Change
from dmp_lightning.metrics.paired_loss import Comparison
from dmp_lightning.training.hooks.evidence import Pictures
from dmp_lightning.training.hooks.frechet import Generation
from dmp_lightning.training.hooks.paired_loss import PairedValidation
from dmp_lightning.training.progress import Clock


@dataclass(frozen=True)
class Outcome:
    """The findings of the latest validation.

    `frechet_change` and `comparison` are None for the base itself. `training_seconds` are without validation, `memory`
    is the peak so far in MiB: of the GPU where there is one, else of the process; `times` are the strata's middles.
    """

    frechet: float
    frechet_change: Change | None
    loss: float
    comparison: Comparison | None
    training_seconds: float
    validation_seconds: float
    memory: float
    times: list[float]


@dataclass(frozen=True)
class Evaluation:
    """The validation hooks of a run, in the order in which they work."""

    paired: PairedValidation
    generation: Generation
    pictures: Pictures
    clock: Clock

    def callbacks(self) -> list[L.Callback]:
        """For the trainer."""
        return [self.paired, self.generation, self.pictures, self.clock]

    def base_state(self) -> dict[str, Tensor]:
        """All that later validations and the table need of the base, once it has been validated."""
        paired, generation = self.paired, self.generation
        assert paired.base is not None
        assert generation.base_features is not None
        assert generation.before is not None
        numbers = [generation.distance, paired.loss, self.clock.validation, peak_memory()]
        return {
            "losses": paired.base,
            "features": generation.base_features,
            "images": generation.before,
            "numbers": torch.tensor(numbers, dtype=torch.float64),
        }

    def restore_base(self, state: dict[str, Tensor]) -> Outcome:
        """Take the base as measured from `base_state`, as if it had just been validated."""
        paired = self.paired
        paired.base = state["losses"]
        self.generation.base_features, self.generation.before = state["features"], state["images"]
        distance, loss, seconds, memory = state["numbers"].tolist()
        return Outcome(distance, None, loss, None, 0.0, seconds, memory, paired.times)

    def outcome(self) -> Outcome:
        """The findings of the latest validation."""
        return Outcome(
            self.generation.distance,
            self.generation.change,
            self.paired.loss,
            self.paired.comparison,
            self.clock.training,
            self.clock.validation,
            peak_memory(),
            self.paired.times,
        )


def peak_memory() -> float:
    """Peak memory so far in MiB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
