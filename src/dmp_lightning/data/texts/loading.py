"""Loading the tokenizers and text encoders of a pipeline of diffusers, and nothing else of it."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from dmp_lightning.files import read_json
from dmp_lightning.user_error import MissingFileError, UserError

INDEX = "model_index.json"
PARTS = ("tokenizer", "text_encoder")
"""How the names of the parts begin that are loaded."""
LIBRARIES = ("transformers", "diffusers")


def load_pipeline(folder: Path, name: str, known: Collection[str], dtype: torch.dtype) -> Any:
    """A pipeline of a class that is `known`, without all but its tokenizers and text encoders.

    Raises:
        MissingFileError: a part is missing. UserError: the class is not known, or a part would be code from elsewhere.
    """
    try:
        index = dict(read_json(folder / INDEX))
        parts = {part: (value[0], value[1]) for part, value in index.items() if isinstance(value, list)}
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"text_encoder={name} is damaged, see {folder / INDEX} ({error}): download it again."
        ) from error
    kind = str(index.get("_class_name"))
    if kind not in known:
        raise UserError(f"text_encoder={name} is a {kind}, which is not among those known: {', '.join(known)}.")
    wanted = {part: value for part, value in parts.items() if part.startswith(PARTS)}
    strange = next((part for part, (library, _) in wanted.items() if library not in (None, *LIBRARIES)), None)
    if strange is not None:
        raise UserError(f"text_encoder={name} has its {strange} from {wanted[strange][0]}: choose another folder.")
    try:
        with quiet():
            return getattr(import_module("diffusers"), kind).from_pretrained(
                folder,
                torch_dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                **dict.fromkeys(parts.keys() - wanted.keys()),
            )
    except (OSError, ValueError) as error:
        raise MissingFileError(
            f"text_encoder={name} cannot be loaded ({str(error).splitlines()[0]}): download the repository again, with "
            "its tokenizers and text encoders as .safetensors."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without diffusers' warnings of each text that is cut: they are counted."""
    told = import_module("diffusers.utils.logging")
    level = told.get_verbosity()
    told.set_verbosity_error()
    try:
        yield
    finally:
        told.set_verbosity(level)
