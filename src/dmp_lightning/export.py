"""`python -m dmp_lightning.export`: the patch in a checkpoint as a file to ship."""

from omegaconf import DictConfig

from dmp_lightning.entry import entry_point


@entry_point("export")
def main(config: DictConfig) -> None:
    """Write the patch."""
    from dmp_lightning.export_job import export

    export(config)


if __name__ == "__main__":
    main()
