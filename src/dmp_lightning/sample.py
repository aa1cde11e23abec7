"""`python -m dmp_lightning.sample`: pictures of a base and of its patch."""

from omegaconf import DictConfig

from dmp_lightning.entry import entry_point


@entry_point("sample")
def main(config: DictConfig) -> None:
    """Draw the samples."""
    from dmp_lightning.sample_job import sample

    sample(config)


if __name__ == "__main__":
    main()
