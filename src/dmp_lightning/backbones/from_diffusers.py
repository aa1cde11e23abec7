"""A base from a folder of diffusers, or from the cache of the hub: the denoiser of a pipeline, or a model by itself."""

import inspect
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from dmp_lightning.backbones.called import sample_shape
from dmp_lightning.backbones.calls import CALLS
from dmp_lightning.backbones.diffusers import Adapter
from dmp_lightning.backbones.families import FAMILIES
from dmp_lightning.user_error import MissingFileError, UserError

PLACES = (".", "transformer", "unet")
"""Where the denoiser is, in a folder of its own or of a pipeline."""
CONFIG, SCHEDULER = "config.json", "scheduler/scheduler_config.json"
FILES = [f"{place}/*" for place in PLACES[1:]] + ["*.json", "*.safetensors", SCHEDULER]


def load_diffusers(
    path: str | Path,
    *,
    weights: bool = True,
    dtype: str = "float32",
    predicts: str | None = None,
    latent_size: Sequence[int] | None = None,
    frames: int | None = None,
    guidance: int | float = 1.0,
    condition_dropout: int | float = 0.1,
) -> Adapter:
    """A model of diffusers as a backbone, in eval mode. Nothing is downloaded.

    Args:
        path: folder of a pipeline or of its denoiser, or the name of a repository in the hub's cache.
        weights: whether to load them; else they are random. dtype: of the weights, `float32` or `bfloat16`.
        predicts: `epsilon`, `v` or `velocity`, where the folder of the scheduler does not say it, or is wrong.
        latent_size: rows and columns; None for those of pictures that the pipeline makes by default.
        frames: of latents of a video. guidance: the scale that distilled models take as an input.
        condition_dropout: how often training takes the null condition.

    Raises:
        MissingFileError: it is not there, or has no weights.
        UserError: its class cannot be patched, or a number does not fit it.
    """
    folder, kind, _ = read_config(str(path))
    number = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    if weights:
        try:
            model = kind.from_pretrained(
                folder,
                torch_dtype=number,
                local_files_only=True,
                use_safetensors=True,
                low_cpu_mem_usage=find_spec("accelerate") is not None,
            )
        except (OSError, ValueError) as error:
            raise MissingFileError(
                f"{folder} has no weights that diffusers can load ({str(error).splitlines()[0]}): download the "
                "repository again, with its .safetensors."
            ) from error
    else:
        model = torch.nn.Module.to(
            kind.from_config(kind.load_config(folder)), number
        )  # diffusers' own `to` warns of nothing
    found = Adapter(model.eval(), FAMILIES[kind.__name__])
    assert found.call is not None
    found.sample_shape = sample_shape(found.call, model.config, latent_size, frames)
    found.guidance, found.class_dropout_prob = guidance, condition_dropout
    if predicts is not None:
        found.predicts = predicts
    elif found.predicts in ("epsilon", "v"):
        found.predicts = {"v_prediction": "v", "epsilon": "epsilon"}.get(_prediction(folder), found.predicts)
    return found


def in_diffusers(key: str, path: str | None, size: Sequence[int] | None, frames: int | None) -> Any:
    """What data must be for the model at `path`, for a config: its `sample_shape`, or the shapes of its `condition`.

    Raises:
        MissingFileError, UserError: see `load_diffusers`.
    """
    if path is None:
        return None
    _, kind, config = read_config(path)
    call = CALLS[kind.__name__]
    return list(sample_shape(call, config, size, frames)) if key == "sample_shape" else dict(call.needs(config))


@lru_cache(maxsize=4)
def read_config(path: str) -> tuple[Path, Any, Any]:
    """The folder of the denoiser, its class, and its config with the defaults of the class.

    Raises:
        MissingFileError, UserError: see `load_diffusers`.
    """
    diffusers = import_module("diffusers")  # late: patching works without it
    folder = _folder(path)
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        name = content["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
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


def _folder(path: str) -> Path:
    """Where the denoiser is, in a folder or in the hub's cache."""
    place = Path(path).expanduser()
    if not place.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            place = Path(snapshot_download(path, allow_patterns=FILES, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError) as error:
            raise MissingFileError(
                f"backbone.path={path} is no folder, and not in the cache of the hub: download it with hf download "
                f"{path}, or name a folder."
            ) from error
    for name in PLACES:
        if (place / name / CONFIG).is_file():
            return place / name
    raise MissingFileError(f"backbone.path={path} has no {CONFIG}, nor has a folder transformer or unet in it.")


def _prediction(folder: Path) -> str:
    """What the scheduler of the pipeline takes, where it stands beside the model."""
    try:
        return str(json.loads((folder.parent / SCHEDULER).read_text(encoding="utf-8"))["prediction_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
