"""Writing checkpoints straight to disk."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO


class StreamedCheckpointIO(TorchCheckpointIO):
    """Writes under another name, then renames. Lightning's own first makes the whole file in memory.

    Raises:
        OSError: the file cannot be written; those before it are as they were.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        target = Path(path)
        temporary = target.with_name(target.name + ".tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())  # on the disk before the name is: a machine may go down as well
            os.replace(temporary, target)
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise OSError(
                f"The checkpoint {target} cannot be written ({reason}): make room, then resume=latest; earlier "
                "checkpoints are as they were."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
