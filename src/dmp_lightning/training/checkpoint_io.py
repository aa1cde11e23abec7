"""Writing checkpoints straight to disk."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dmp_lightning.files import replacing
from dmp_lightning.runs.sealing import seal_zip
from dmp_lightning.user_error import UnwritableError


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
            raise UnwritableError(f"{error} Then resume=latest: earlier checkpoints are as they were.") from error
