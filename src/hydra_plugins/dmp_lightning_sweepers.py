"""Hydra's sweepers of this package: Hydra takes them from `hydra_plugins` alone."""

from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from dmp_lightning.sweeps import Ended, conclude, elsewhere


class GridSweeper(BasicSweeper):
    """All combinations of the values, as Hydra's own sweeper; then a line on how the jobs ended."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        batches = super().sweep(arguments)
        conclude(self.config.hydra.sweep.dir, [job.return_value for batch in batches for job in batch])
        return batches


class SearchSweeper(BasicSweeper):
    """A search by Optuna, whose study is in the sweep's folder; the launcher runs its trials.

    Args:
        n_trials: of the study, with those that are in it. n_jobs: trials that are drawn and launched together.
        seed, startup_trials: of `dmp_lightning.search.Search`. params: values by key, what is searched among them.
    """

    def __init__(self, n_trials: int, n_jobs: int, seed: int, startup_trials: int, params: Any = None) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.n_trials, self.n_jobs, self.seed, self.startup_trials = n_trials, n_jobs, seed, startup_trials

    def sweep(self, arguments: list[str]) -> Any:
        try:
            from dmp_lightning.search import STUDY, Search, search_space
        except ModuleNotFoundError as error:
            raise ValueError(
                f"sweeper=optuna needs {error.name}, which is not installed: pip install 'dmp-lightning[optuna]'"
            ) from error
        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides([*self._parse_config(), *arguments])
        overrides = {override.get_key_element(): override for override in given}  # the last of a key counts
        space = search_space(overrides.values())
        fixed = [f"{key}={overrides[key].get_value_element_as_str()}" for key in overrides if key not in space]
        folder = Path(self.config.hydra.sweep.dir)
        decisive = [text for text in fixed if not elsewhere(text)]
        search = Search(folder / STUDY, space, decisive, self.seed, self.startup_trials)
        jobs = [Ended("skipped", folder / str(trial.number), {}) for trial in search.finished()]
        for trials in search.batches(self.n_trials, self.n_jobs):
            batch = [[*fixed, *trial.overrides, f"sweep.trial={trial.number}"] for trial in trials]
            self.validate_batch_is_legal(batch)
            launched = self.launcher.launch(batch, initial_job_idx=trials[0].number)
            ended = [job.return_value for job in launched]
            for trial, job in zip(trials, ended, strict=True):
                search.tell(trial, job)
            jobs += ended
        print(search.best())
        conclude(str(folder), jobs)
