"""Hydra's sweepers of this package: Hydra takes them from `hydra_plugins` alone."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from dmp_lightning.sweeps import conclude


class GridSweeper(BasicSweeper):
    """All combinations of the values, as Hydra's own sweeper; then a line on how the jobs ended."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        batches = super().sweep(arguments)
        conclude(self.config.hydra.sweep.dir, [job.return_value for batch in batches for job in batch])
        return batches
