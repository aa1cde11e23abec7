"""Opening a text encoder: a pipeline's, or one by itself."""

import re
from importlib.util import find_spec
from pathlib import Path

import torch

from dmp_lightning.data.texts.encoders import ModelEncoder
from dmp_lightning.data.texts.loading import INDEX
from dmp_lightning.data.texts.pipelines import PipelineEncoder
from dmp_lightning.data.texts.writing import Encoder
from dmp_lightning.user_error import MissingFileError, UserError

EXACT = ("float32", "float16")
"""Types whose numbers are computed in float32; those of others in bfloat16."""


def open_encoder(name: str, *, length: int | None, dtype: str, device: str) -> Encoder:
    """The text encoder at a path or in the hub's cache. Nothing is downloaded.

    Args:
        name: folder of a pipeline of diffusers, of a model of transformers with its tokenizer, or a repository of
            either. length: most tokens of a text; None for as many as it takes. dtype: of the numbers to be stored.

    Raises:
        MissingFileError: it is not there, or incomplete.
        UserError: its class is not known, or it does not encode texts.
    """
    if find_spec("transformers") is None:
        raise UserError("text_encoder needs transformers: pip install 'dmp-lightning[text]'")
    folder, revision = _find(name)
    kind = PipelineEncoder if (folder / INDEX).is_file() else ModelEncoder
    computed = torch.float32 if dtype in EXACT else torch.bfloat16
    return kind(folder, name, revision, length=length, dtype=computed, device=device)


def _find(name: str) -> tuple[Path, str | None]:
    """Where it is, and its commit if it is in the hub's cache."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(name, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError) as error:
            raise MissingFileError(
                f"text_encoder={name} is no folder, and not in the cache of the hub: download it with hf download "
                f"{name}, or name a folder."
            ) from error
    return folder, folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else None
