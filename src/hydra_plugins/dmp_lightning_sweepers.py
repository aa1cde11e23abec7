"""Hydra's sweepers of this package: Hydra takes them from `hydra_plugins` alone."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher

from dmp_lightning.acting import check_acting, keys_of
from dmp_lightning.ctrl_c import leave, patience, promise
from dmp_lightning.earlier import elsewhere
from dmp_lightning.kinds import check
from dmp_lightning.mistakes import check_launcher
from dmp_lightning.plain_kinds import COUNT, SEED
from dmp_lightning.sweeps import Ended, conclude
from dmp_lightning.values import check_numbers, check_values

OWN = "hydra.sweeper"


class CheckingSweeper(BasicSweeper):
    """Hydra's own sweeper, which checks the configs of all runs before it starts one."""

    meant: Sequence[str] = ()
    """Keys that were typed, or that the sweep turns: each has to act in one of the runs at least."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        assert self.config is not None
        assert self.hydra_context is not None
        load, command = self.hydra_context.config_loader.load_sweep_config, self.config.hydra.job.config_name
        configs = [load(self.config, list(overrides)) for overrides in batch]
        for config in configs:
            check_values(config, command, references=False)
        check_acting(configs, command, self.meant)


class GridSweeper(CheckingSweeper):
    """All combinations of the values, as Hydra's own sweeper; then a line on how the jobs ended."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        check_launcher(self.config.hydra.launcher)
        check_numbers(self.config.hydra.launcher)
        turned = [key for key, value in self.params.items() if "," in str(value)]
        self.meant = keys_of([*arguments, *turned])
        if self.config.sweep is not None:
            arguments = [*arguments, *self._typed_axes(arguments)]
        with stopping(self.launcher, "" if self.config.sweep else " with resume=latest"):
            batches = super().sweep(arguments)
        conclude(self.config.hydra.sweep.dir, [job.return_value for batch in batches for job in batch])
        return batches

    def _typed_axes(self, arguments: list[str]) -> list[str]:
        """Overrides that make an axis of each key that is given several values and that the sweep does not have.

        Raises:
            ValueError: one of them says where results go: its values would share a folder.
        """
        assert self.hydra_context is not None
        loader, found = self.hydra_context.config_loader, []
        for override in OverridesParser.create(config_loader=loader).parse_overrides(arguments):
            key = override.get_key_element().lstrip("+")
            if not override.is_sweep_override() or key == "seed" or key in self.params:
                continue
            if elsewhere(key):
                raise ValueError(f"{key} cannot be turned within a sweep: start one for each value.")
            value = f"hydra:runtime.choices.{key}" if loader.get_group_options(key) else key
            found += [] if "@" in key else [f"++sweep.axes.{key.rpartition('.')[2]}=${{{value}}}"]
        return found


@contextmanager
def stopping(launcher: Launcher | None, how: str) -> Iterator[None]:
    """Let SIGTERM end a sweep as Ctrl-C does, and tell how it goes on. A launcher ends the processes that it began."""
    promise(lambda: f"Interrupted. To go on: the same command{how}")
    numbers = (signal.SIGTERM,) if isinstance(launcher, BasicLauncher) else (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        with patience() if len(numbers) > 1 else nullcontext():
            yield
    except KeyboardInterrupt:
        leave()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class SearchSweeper(CheckingSweeper):
    """A search by Optuna, whose study is in the sweep's folder; the launcher runs its trials.

    Args:
        n_trials: of the study, with those that are in it. n_jobs: trials that are drawn and launched together.
        seed, startup_trials: of `dmp_lightning.search.Search`. params: values by key, what is searched among them.
    """

    def __init__(self, n_trials: int, n_jobs: int, seed: int, startup_trials: int, params: Any = None) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.n_trials, self.n_jobs = check(f"{OWN}.n_trials", n_trials, COUNT), check(f"{OWN}.n_jobs", n_jobs, COUNT)
        self.seed = check(f"{OWN}.seed", seed, SEED)
        self.startup_trials = check("sweep.startup_trials", startup_trials, COUNT)

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
        check_launcher(self.config.hydra.launcher)
        check_numbers(self.config.hydra.launcher)
        overrides = self._overrides(arguments)
        self.meant = keys_of(overrides)
        space = search_space(overrides.values())
        fixed = [f"{key}={overrides[key].get_value_element_as_str()}" for key in overrides if key not in space]
        folder = Path(self.config.hydra.sweep.dir)
        decisive = [text for text in fixed if not elsewhere(text)]
        search = Search(folder / STUDY, space, decisive, self.seed, self.startup_trials)
        jobs = [Ended("skipped", folder / str(trial.number), {}) for trial in search.finished()]
        with stopping(self.launcher, ""):
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

    def _overrides(self, arguments: list[str]) -> dict[str, Override]:
        """What is typed, by key, of which the last counts; where it searches nothing, with what is searched by default.

        Raises:
            ValueError: the default does not suit the method, or a sweep over seeds is to be searched.
        """
        assert self.config is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        typed = {override.get_key_element(): override for override in parser.parse_overrides(arguments)}
        default = {override.get_key_element(): override for override in parser.parse_overrides(self._parse_config())}
        if "seed" in default:
            raise ValueError("A search turns no axis over seeds: leave out +sweep=..., or sweeper=optuna.")
        if any(override.is_sweep_override() for override in typed.values()):
            return typed
        if not self.config.method._target_.endswith(".DMP"):
            raise ValueError(
                "sweeper=optuna searches the rates of prompts and gate: say what to search of another method, such as "
                "recipe.learning_rates.lora='tag(log,interval(1e-4,1e-1))'."
            )
        return default | typed
