"""A base from a folder of diffusers, or from the cache of the hub: the denoiser of a pipeline, or a model by itself."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dmp_lightning.backbones.calls import CALLS, patch_side, sample_shape
from dmp_lightning.backbones.diffusers import Adapter
from dmp_lightning.backbones.families import FAMILIES
from dmp_lightning.backbones.model_folder import PUBLISHED, not_there, read_config
from dmp_lightning.backbones.quantise import quantise
from dmp_lightning.backbones.scheduler_file import OF_BETAS, read_scheduler, shift_of
from dmp_lightning.backbones.weight_sets import read_weights
from dmp_lightning.backbones.weights import check_fit
from dmp_lightning.user_error import MissingFileError, UserError

PREDICTIONS = {"v_prediction": "v", "epsilon": "epsilon"}
DEPTHS = ("num_layers", "num_single_layers", "num_mmdit_layers", "num_single_dit_layers", "num_refiner_layers",
          "layers_per_block")  # fmt: skip
"""Keys of a config that say how many blocks there are."""


def load_diffusers(
    path: str | Path,
    *,
    weights: bool | str | Path = True,
    dtype: str = "float32",
    predicts: str | None = None,
    latent_size: Sequence[int] | None = None,
    frames: int | None = None,
    blocks: int | None = None,
    quantize: str | None = None,
    guidance: int | float = 1.0,
    condition_dropout: int | float = 0.1,
) -> Adapter:
    """A model of diffusers as a backbone, in eval mode. Nothing is downloaded.

    Args:
        path: folder of a pipeline or of its denoiser, or the name of a repository in the hub's cache.
        weights: True for those in `path`, False for random ones; or another file of weights of this model.
        dtype: of the weights, `float32` or `bfloat16`.
        predicts: `epsilon`, `v` or `velocity`, where the folder of the scheduler does not say it, or is wrong.
        latent_size: rows and columns; None for those of pictures that the pipeline makes by default.
        frames: of latents of a video.
        blocks: only that many of each list of blocks, with random weights, to try a large model.
        quantize: hold the weights of the blocks in few bits, `int8`, `fp8` or `nf4`, see `quantise`.
        guidance: the scale that distilled models take as an input.
        condition_dropout: how often training takes the null condition.

    Raises:
        MissingFileError: it is not there, or has no weights.
        UserError: its class cannot be patched, or a number does not fit it.
    """
    if blocks is not None and weights is not False:
        raise UserError(f"backbone.model.blocks={blocks} is for random weights: set backbone.weights=null.")
    folder, kind, _ = read_config(str(path))
    number = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    model = _pretrained(kind, folder, str(path), number) if weights is True else _random(kind, folder, blocks, number)
    if isinstance(weights, str | Path):
        _load_file(model, weights)
    found = Adapter(model.eval(), FAMILIES[kind.__name__])
    assert found.call is not None
    if quantize is not None:
        quantise(model, quantize, [sites.path for sites in found.lists])
    found.sample_shape = sample_shape(found.call, model.config, latent_size, frames)
    found.guidance, found.class_dropout_prob = guidance, condition_dropout
    found.scheduler = read_scheduler(folder)
    if predicts is not None:
        found.predicts = predicts
    elif found.predicts in ("epsilon", "v"):
        found.predicts = PREDICTIONS.get(str(found.scheduler.get("prediction_type")), found.predicts)
    return found


def in_diffusers(
    key: str, path: str | None, size: Sequence[int] | None, frames: int | None, otherwise: Any = None
) -> Any:
    """The `sample_shape` that data need for the model at `path`, or the shapes of a `condition`, for a config.

    Without a path it is `otherwise`.

    Raises:
        MissingFileError, UserError: see `load_diffusers`.
    """
    if path is None:
        return otherwise
    _, kind, config = read_config(path)
    call = CALLS[kind.__name__]
    return list(sample_shape(call, config, size, frames)) if key == "sample_shape" else dict(call.needs(config))


def in_scheduler(
    key: str, otherwise: Any, path: str | None, size: Sequence[int] | None = None, frames: int | None = None
) -> Any:
    """One setting of the process, as the scheduler of the pipeline at `path` has it, for a config; else `otherwise`.

    Args:
        key: `shift`, of a `Flow`; or an argument of `scaled_linear_betas`.

    Raises:
        MissingFileError, UserError: see `load_diffusers`.
    """
    if path is None:
        return otherwise
    folder, kind, config = read_config(path)
    scheduler, call = read_scheduler(folder), CALLS[kind.__name__]
    if key != "shift":
        return scheduler.get(OF_BETAS[key], otherwise)
    if not scheduler:
        return otherwise
    _, rows, columns = sample_shape(call, config, size, frames)
    return shift_of(scheduler, rows * columns // patch_side(call, config) ** 2)


def _pretrained(kind: Any, folder: Path, path: str, dtype: torch.dtype) -> nn.Module:
    if folder.is_relative_to(PUBLISHED):  # which holds configs alone
        raise not_there(path)
    try:
        return kind.from_pretrained(
            folder,
            torch_dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=find_spec("accelerate") is not None,
        )
    except (OSError, ValueError) as error:
        raise MissingFileError(
            f"{folder} has no weights that diffusers can load ({str(error).splitlines()[0]}): download the "
            "repository again, with its .safetensors."
        ) from error


def _random(kind: Any, folder: Path, blocks: int | None, dtype: torch.dtype) -> nn.Module:
    config = dict(kind.load_config(folder))
    fewer = {} if blocks is None else {name: blocks for name in DEPTHS if name in config}
    return nn.Module.to(kind.from_config(config | fewer), dtype)  # `to` of diffusers warns without need


def _load_file(model: nn.Module, path: str | Path) -> None:
    expected = model.state_dict()
    found = read_weights(path, expected)
    tensors = dict(found.weights.tensors)
    check_fit(found.file, tensors, expected)
    model.load_state_dict(tensors)
