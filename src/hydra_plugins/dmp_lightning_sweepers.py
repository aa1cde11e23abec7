"""The sweeper of this package: Hydra finds sweepers in `hydra_plugins` alone."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher

from dmp_lightning.commands.checks.acting import check_acting, keys_of
from dmp_lightning.commands.checks.values import check_numbers, check_values
from dmp_lightning.commands.earlier import elsewhere
from dmp_lightning.commands.errors import check_launcher
from dmp_lightning.training.ctrl_c import leave, patience, promise
from dmp_lightning.user_error import UserError


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper of all combinations. It checks the configs of all jobs before it starts one, and ends with
    one line on how they went.
    """

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
        from dmp_lightning.commands.sweeps import conclude  # Hydra imports this file for single runs, too

        conclude(self.config.hydra.sweep.dir, [job.return_value for batch in batches for job in batch])
        return batches

    def _typed_axes(self, arguments: list[str]) -> list[str]:
        """Overrides that make an axis of each key that is given several values and that the sweep does not have.

        Raises:
            UserError: one of them says where results go: its values would share a folder.
        """
        assert self.hydra_context is not None
        loader, found = self.hydra_context.config_loader, []
        for override in OverridesParser.create(config_loader=loader).parse_overrides(arguments):
            key = override.get_key_element().lstrip("+")
            if not override.is_sweep_override() or key == "seed" or key in self.params:
                continue
            if elsewhere(key):
                raise UserError(f"{key} cannot be an axis of a sweep: start one sweep for each value.")
            value = f"hydra:runtime.choices.{key}" if loader.get_group_options(key) else key
            found += [] if "@" in key else [f"++sweep.axes.{key.rpartition('.')[2]}=${{{value}}}"]
        return found


@contextmanager
def stopping(launcher: Launcher | None, how: str) -> Iterator[None]:
    """Let SIGTERM end a sweep as Ctrl-C does, and tell how it goes on. A launcher ends the processes that it began."""
    promise(lambda: f"Interrupted. To resume: the same command{how}")
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
