"""`python -m dmp_lightning.train`: patch a converged diffusion transformer, and measure whether it helped."""

from typing import TYPE_CHECKING

from dmp_lightning.commands.door import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("train")
def main(config: "DictConfig") -> dict[str, float]:
    """Run the job; torch and Lightning are imported only now, as a misspelt key needs neither."""
    from dmp_lightning.commands.train import train

    return train(config)


if __name__ == "__main__":
    main()
