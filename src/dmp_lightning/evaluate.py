"""`python -m dmp_lightning.evaluate`: all metrics of a base and of its patch, over many samples."""

from typing import TYPE_CHECKING

from dmp_lightning.commands.door import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("evaluate")
def main(config: "DictConfig") -> None:
    """Measure."""
    from dmp_lightning.commands.evaluate import evaluate

    evaluate(config)


if __name__ == "__main__":
    main()
