"""The door of each command: Ctrl-C is answered before Hydra is imported, which takes a while."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dmp_lightning.training.ctrl_c import leave, listen

if TYPE_CHECKING:
    from omegaconf import DictConfig


def entry_point(config_name: str) -> Callable[[Callable[["DictConfig"], Any]], Callable[[], None]]:
    """Make a command of a function of a config, see `dmp_lightning.commands.cli.run`."""

    def decorate(task: Callable[["DictConfig"], Any]) -> Callable[[], None]:
        def main() -> None:
            listen()
            try:
                from dmp_lightning.commands.cli import run

                run(task, config_name)
            except KeyboardInterrupt:
                leave()

        return main

    return decorate
