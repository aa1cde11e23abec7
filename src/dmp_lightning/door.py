"""The door of each command: Ctrl-C is answered before Hydra is imported, which takes a while."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dmp_lightning.ctrl_c import leave, listen

if TYPE_CHECKING:
    from omegaconf import DictConfig


def entry_point(config_name: str) -> Callable[[Callable[["DictConfig"], Any]], Callable[[], None]]:
    """Make a command of a function of a config, see `dmp_lightning.entry.run`."""

    def decorate(task: Callable[["DictConfig"], Any]) -> Callable[[], None]:
        def main() -> None:
            listen()
            try:
                from dmp_lightning.entry import run

                run(task, config_name)
            except KeyboardInterrupt:
                leave()

        return main

    return decorate
