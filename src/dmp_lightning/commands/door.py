"""The door of each command: `--help` and Ctrl-C are answered before Hydra is imported, which takes a while."""

import sys
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
                if {"-h", "--help"} & set(sys.argv[1:]):
                    from dmp_lightning.commands.help import print_help

                    print_help(config_name)
                    return
                from dmp_lightning.commands.cli import run

                run(task, config_name)
            except KeyboardInterrupt:
                leave()

        return main

    return decorate
