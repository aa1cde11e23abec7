"""`python -m dmp_lightning.evaluate`: all metrics of a base and of its patch, over many samples."""

from omegaconf import DictConfig

from dmp_lightning.entry import entry_point


@entry_point("evaluate")
def main(config: DictConfig) -> None:
    """Measure."""
    from dmp_lightning.evaluate_job import evaluate

    evaluate(config)


if __name__ == "__main__":
    main()
