"""`python -m dmp_lightning.export`: the patch in a checkpoint as a file to ship."""

from typing import TYPE_CHECKING

from dmp_lightning.commands.door import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("export")
def main(config: "DictConfig") -> None:
    """Write the patch."""
    from dmp_lightning.commands.export import export

    export(config)


if __name__ == "__main__":
    main()
