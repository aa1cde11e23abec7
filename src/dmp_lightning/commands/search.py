"""A search by Optuna: its study, the trials that it draws, and the pruning of runs that fall behind."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import optuna
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from optuna_integration import PyTorchLightningPruningCallback

from dmp_lightning.commands.sweeps import Ended, Pruned

OBJECTIVE = "loss_difference"  # of a run's final metrics: the paired validation loss minus the base's
STUDY = "study.journal"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """The number of a trial in its study, and the overrides that make its run."""

    number: int
    overrides: list[str]


class Search:
    """A study in the file `path`, with which a search that is started again goes on.

    A trial is drawn from the seed, its number and the trials that are finished: a search that was stopped draws what
    it would have drawn. One that has failed stays open, and is tried again by the next start.

    Args:
        space: what is searched, by key. fixed: the overrides that all trials share; a study is of one set of them.
        seed: of the draws. startup: trials that are drawn at random, and that are done before any is pruned.

    Raises:
        ValueError: the study in `path` is of another space, seed or set of overrides.
    """

    def __init__(
        self, path: Path, space: dict[str, BaseDistribution], fixed: list[str], seed: int, startup: int
    ) -> None:
        if not space:
            raise ValueError("There is nothing to search: give some key an interval(low,high) or choices.")
        self.space, self.seed, self.startup = space, seed, startup
        path.parent.mkdir(parents=True, exist_ok=True)
        self.study = open_study(path, startup)
        searched = {key: distribution_to_json(values) for key, values in sorted(space.items())}
        settings = {"space": searched, "fixed": sorted(fixed), "seed": seed, "startup": startup}
        if self.study.user_attrs.get("settings", settings) != settings:
            raise ValueError(f"{path} holds a search of other settings: delete its folder, or set sweep.name=....")
        self.study.set_user_attr("settings", settings)

    def finished(self) -> list[Trial]:
        """The trials that have ended well, or were pruned."""
        return [_trial(found) for found in self.study.get_trials(states=FINISHED)]

    def batches(self, count: int, size: int) -> Iterator[list[Trial]]:
        """The trials to run, up to `size` at a time: first those left open, then new ones until there are `count`."""
        left = [_trial(found) for found in self.study.get_trials(states=(TrialState.RUNNING,))]
        for start in range(0, len(left), size):
            yield left[start : start + size]
        while (missing := count - len(self.study.get_trials(deepcopy=False))) > 0:
            yield [self._draw() for _ in range(min(size, missing))]

    def tell(self, trial: Trial, job: Ended) -> None:
        """Note how the run of a trial ended.

        Raises:
            ValueError: its method trains nothing, so that there is nothing to compare.
        """
        if job.state == "pruned":
            self.study.tell(trial.number, state=TrialState.PRUNED)
        elif job.state != "failed":
            if OBJECTIVE not in job.metrics:
                raise ValueError("A search compares what is trained with the base: choose a method that trains.")
            self.study.tell(trial.number, job.metrics[OBJECTIVE])

    def best(self) -> str:
        """The best trial so far, in one line."""
        done = self.study.get_trials(states=(TrialState.COMPLETE,))
        if not done:
            return "No trial is done."
        best = min(done, key=lambda trial: trial.values[0])
        return f"The best of {len(done)} is trial {best.number}: {OBJECTIVE} {best.values[0]:.3g}, with " + " ".join(
            _trial(best).overrides
        )

    def _draw(self) -> Trial:
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = optuna.samplers.TPESampler(seed=self.seed + number, n_startup_trials=self.startup)
        self.study.ask(self.space)
        return _trial(self.study.get_trials()[number])


def _trial(found: FrozenTrial) -> Trial:
    return Trial(found.number, [f"{key}={value}" for key, value in found.params.items()])


def open_study(path: Path, startup: int) -> optuna.Study:
    """The study in the file `path`, which is made where there is none."""
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path))),
        study_name="search",
        direction="minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=startup),
        load_if_exists=True,
    )


def search_space(overrides: Iterable[Override]) -> dict[str, BaseDistribution]:
    """What is searched, in Hydra's syntax: choices `a,b`, `range(first,end)`, `interval(low,high)`, also within
    `tag(log,...)` and `int(...)`.
    """
    return {each.get_key_element(): _distribution(each) for each in overrides if each.is_sweep_override()}


def _distribution(override: Override) -> BaseDistribution:
    sweep: Any = override.value()
    if isinstance(sweep, IntervalSweep):
        low, high, log = sweep.start, sweep.end, "log" in sweep.tags
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)  # type: ignore[arg-type]
    assert isinstance(sweep, ChoiceSweep | RangeSweep)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


class Pruning(PyTorchLightningPruningCallback):
    """Lightning's pruning callback, by steps: the stream of samples is endless, so that no epoch ends.

    What the last validation finds is the result, so it prunes nothing.
    """

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.global_step >= trainer.max_steps:
            return
        try:
            super().on_validation_end(trainer, SimpleNamespace(current_epoch=trainer.global_step))
        except optuna.TrialPruned as end:
            raise Pruned(f"after {trainer.global_step} steps") from end


def pruning(config: DictConfig) -> Pruning:
    """The callback for the run of the trial that `config.sweep` names.

    Raises:
        ValueError: the run is on several devices; Optuna's callback would need a database to stop all of them.
    """
    if config.trainer.devices not in (1, "1") or config.trainer.num_nodes != 1:
        raise ValueError("A search prunes runs of one device: set trainer.devices=1.")
    study = open_study(Path(config.sweep.study), config.sweep.startup_trials)
    found = study.get_trials(deepcopy=False)[config.sweep.trial]
    return Pruning(optuna.trial.Trial(study, found._trial_id), f"val/{OBJECTIVE}_mean")
