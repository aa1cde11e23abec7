"""`python -m dmp_lightning.report DIR`: tables, plots and pictures of all runs below a folder, in one HTML file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dmp_lightning.commands.door import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("report")
def report(config: "DictConfig") -> None:
    """Report."""
    from dmp_lightning.commands.report import make_report

    make_report(config)


def main() -> None:
    """The command; its folder may be named as it is, which Hydra's grammar does not know."""
    sys.argv[1:] = with_folder(sys.argv[1:])
    report()


def with_folder(arguments: list[str]) -> list[str]:
    """The arguments with the first, where that is a folder or no override, as `dir=...`."""
    first, *others = arguments or [""]
    if not first or first.startswith("-") or ("=" in first and not Path(first).is_dir()):
        return arguments
    quoted = first.replace("\\", "\\\\").replace("'", "\\'")
    return [f"dir='{quoted}'", *others]


if __name__ == "__main__":
    main()
