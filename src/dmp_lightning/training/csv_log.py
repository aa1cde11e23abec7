"""Metrics as one CSV file that a resumed run goes on with."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from dmp_lightning.files import replacing


class CSVLog(Logger):
    """Writes metrics into the file `path`, a row for each call.

    Lightning's own CSVLogger deletes the file of the session before. This one can be cut back to the rows that it had
    when a checkpoint was taken, so that after a resume no row is missing and none is there twice.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._pending: list[dict[str, Any]] = []
        self._header: list[str] = []
        self._rows = 0
        if self.path.is_file():
            rows = self._read()
            self._rows, self._header = len(rows), list(rows[0]) if rows else []

    @property
    def name(self) -> None:
        """A run's name is its folder's."""

    @property
    def version(self) -> None:
        """A folder has one file."""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Nothing: the config is in `results.json`."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._pending.append({"step": step} | {name: float(value) for name, value in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Write what is pending; a new column makes the file anew."""
        if not self._pending:
            return
        columns = {name for row in self._pending for name in row} - set(self._header)
        if columns or not self.path.is_file():
            self._replace(self._read() + self._pending, ["step", *sorted((columns | set(self._header)) - {"step"})])
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._header).writerows(self._pending)
        self._rows += len(self._pending)
        self._pending = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def count(self) -> int:
        """Rows in the file, once all are written."""
        self.save()
        return self._rows

    @rank_zero_only
    def cut(self, rows: int) -> None:
        """Keep the first `rows` rows alone."""
        self._pending = []
        self._replace(self._read()[:rows], self._header)
        self._rows = min(rows, self._rows)

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _replace(self, rows: list[dict[str, Any]], header: list[str]) -> None:
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, header)
            writer.writeheader()
            writer.writerows(rows)
        self._header = header
