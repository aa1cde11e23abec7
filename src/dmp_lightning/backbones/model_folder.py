"""The folder of a model of diffusers: on the disk, in the cache of the hub, or of its config alone, in this package."""

import inspect
import json
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dmp_lightning.backbones.calls import CALLS
from dmp_lightning.backbones.scheduler_file import SCHEDULER
from dmp_lightning.user_error import MissingFileError, UserError

PLACES = (".", "transformer", "unet")
"""Where the denoiser is, in a folder of its own or of a pipeline."""
CONFIG = "config.json"
FILES = [f"{place}/*" for place in PLACES[1:]] + ["*.json", "*.safetensors", SCHEDULER]
PUBLISHED = Path(__file__).parents[1] / "assets" / "published"
"""Configs of published pipelines, each in the folder OWNER--NAME of its repository on the hub."""
NORMS = {"ada_norm_zero": "DiTTransformer2DModel", "ada_norm_single": "PixArtTransformer2DModel"}
"""What older repositories call a Transformer2DModel, by its `norm_type`."""


@lru_cache(maxsize=4)
def read_config(path: str) -> tuple[Path, Any, Any]:
    """The folder of the denoiser, its class, and its config with the defaults of the class.

    Raises:
        MissingFileError: there is no such folder or repository.
        UserError: it is of another kind of model.
    """
    diffusers = import_module("diffusers")  # late: patching works without it
    folder = _folder(path)
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        name = NORMS.get(content.get("norm_type"), content["_class_name"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / CONFIG} is not the config of a model of diffusers: choose another folder."
        ) from error
    if name not in CALLS:
        raise UserError(f"{path} is a {name}, which is not among those that can be trained: {', '.join(CALLS)}.")
    kind = getattr(diffusers, name, None)
    if kind is None:
        raise UserError(f"This diffusers ({diffusers.__version__}) has no {name}: install a newer one.")
    takes = inspect.signature(kind.__init__).parameters.values()
    defaults = {each.name: each.default for each in takes if each.default is not each.empty}
    return folder, kind, SimpleNamespace(**defaults | content)


def not_there(path: str) -> MissingFileError:
    """The error for a repository that was not downloaded."""
    return MissingFileError(
        f"backbone.path={path} is no folder, and not in the cache of the hub: download it with hf download {path}, or "
        "name a folder."
    )


def _folder(path: str) -> Path:
    place = Path(path).expanduser()
    if not place.is_dir():
        place = _cached(path)
    for name in PLACES:
        if (place / name / CONFIG).is_file():
            return place / name
    raise MissingFileError(f"backbone.path={path} has no {CONFIG}, nor has a folder transformer or unet in it.")


def _cached(repo: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, allow_patterns=FILES, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        known = PUBLISHED / repo.replace("/", "--")
        if known.parent == PUBLISHED and known.is_dir():
            return known
        raise not_there(repo) from error
