"""`python -m dmp_lightning.sample`: pictures of a base and of its patch."""

from typing import TYPE_CHECKING

from dmp_lightning.commands.door import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("sample")
def main(config: "DictConfig") -> None:
    """Draw the samples."""
    from dmp_lightning.commands.sample import sample

    sample(config)


if __name__ == "__main__":
    main()
