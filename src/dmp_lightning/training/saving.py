"""Saving the training state, so that a run can be stopped or killed anywhere and lose nothing."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dmp_lightning.files import replacing
from dmp_lightning.runs.folder import saved_in
from dmp_lightning.runs.sealing import seal_zip
from dmp_lightning.training.csv_log import CSVLog
from dmp_lightning.training.interruption import Interruption
from dmp_lightning.training.progress import ends_step
from dmp_lightning.user_error import UnwritableError

KEPT = 2  # the last and, should that turn out to be damaged, the one before


class Checkpoints(Checkpoint):
    """Saves every so many steps, around each validation, and when the run is interrupted.

    A validation belongs to the step before it. So the state is saved one step earlier: a run that is stopped in a
    validation repeats that step, and validates anew. After the validation it is saved again, and nothing is repeated.

    Args:
        folder: where to. every: steps between two checkpoints. interruption: says when to stop.
        kept: what each checkpoint holds besides, by name, in plain containers.
    """

    def __init__(self, folder: Path, every: int, interruption: Interruption, kept: dict[str, Any]) -> None:
        self.folder, self.every, self.interruption, self.kept = folder, every, interruption, kept

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not ends_step(trainer, batch_idx):
            return  # what is accumulated is not saved: a step is finished first
        stopping = self.interruption.requested(trainer)
        next_step = batch_idx + trainer.accumulate_grad_batches
        due = stopping or trainer.global_step % self.every == 0 or _validates(trainer, next_step)
        if due and not _validates(trainer, batch_idx):
            self.save(trainer)
        if stopping:
            self.interruption.stop()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.save(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint |= self.kept
        checkpoint["csv_rows"] = [logger.count() for logger in trainer.loggers if isinstance(logger, CSVLog)]

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        logs = [logger for logger in trainer.loggers if isinstance(logger, CSVLog)]
        for logger, rows in zip(logs, checkpoint["csv_rows"], strict=False):
            logger.cut(rows)

    def save(self, trainer: L.Trainer) -> None:
        """Write the state after this step, and delete all but the last few."""
        trainer.save_checkpoint(self.folder / f"step-{trainer.global_step}.ckpt")
        if trainer.is_global_zero:
            for path in saved_in(self.folder.parent)[:-KEPT]:
                path.unlink()


def _validates(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether Lightning validates after the batch of that index."""
    assert trainer.val_check_batch is not None
    return (batch_idx + 1) % trainer.val_check_batch == 0


class StreamedCheckpointIO(TorchCheckpointIO):
    """Writes whole files or none. Lightning's own first makes the whole file in memory.

    Raises:
        UnwritableError: the file cannot be written; those before it are as they were.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        try:
            with replacing(Path(path)) as temporary:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
                seal_zip(temporary)
        except UnwritableError as error:
            raise UnwritableError(f"{error} Earlier checkpoints are intact: continue with resume=latest.") from error
