"""Reading the weights of a backbone from untrusted files, strictly."""

import argparse
import logging
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dmp_lightning.backbones.diffusers_format import check_config, find_weights, from_diffusers
from dmp_lightning.backbones.labels import Labels, fit_labels
from dmp_lightning.backbones.protocol import Backbone

log = logging.getLogger(__name__)


LABEL_TABLE = "y_embedder.embedding_table.weight"
LABELS_REMEDY = (
    "Set backbone.model.num_classes and class_dropout_prob as the file has it (a null label takes a row), or "
    "backbone.labels to reinit or a map."
)


def load_weights(
    backbone: Backbone, path: str | Path, weights: str | None = None, labels: Labels = "strict"
) -> Backbone:
    """Load the weights in `path` into `backbone`, all of them, and return it.

    A `.safetensors` file, or a `.pt` file: bare weights, or a training checkpoint that holds them as `ema` or `model`.
    `weights` chooses between those two; by default `ema` is taken where there is one, and the log says so. Or a folder
    in diffusers' format. `labels` says what becomes of a class table of another size, see `fit_labels`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read safely, or a weight is missing, unexpected or of another shape.
    """
    expected = backbone.state_dict()
    if Path(path).is_dir():
        file = find_weights(Path(path))
        check_config(file, backbone)
        found, name = from_diffusers(read_weights(file)[0]), "diffusers' format"
        found["pos_embed"] = expected["pos_embed"]
    else:
        found, name = read_weights(path, weights)
    if LABEL_TABLE in found:
        null_row = backbone.null_label is not None
        found = found | {LABEL_TABLE: fit_labels(found[LABEL_TABLE], labels, backbone.num_classes, null_row)}
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing:
        raise ValueError(f"{path} lacks {_some(missing)}: it does not hold the backbone that the config describes.")
    if unexpected:
        raise ValueError(f"{path} holds {_some(unexpected)}, which the configured backbone does not have.")
    for key, value in expected.items():
        if value.shape != found[key].shape:
            remedy = f" {LABELS_REMEDY}" if key == LABEL_TABLE else ""
            raise ValueError(
                f"{path}: {key} has shape {tuple(found[key].shape)}, the backbone needs {tuple(value.shape)}.{remedy}"
            )
    backbone.load_state_dict(found)
    log.info("Base weights: %s (%s)", path, name)
    return backbone


def read_weights(path: str | Path, weights: str | None = None) -> tuple[dict[str, Tensor], str]:
    """The tensors in a weights file, and which part of the file they are; see `load_weights`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There are no weights of the base at {path}: set backbone.weights to its .safetensors or .pt file, or "
            "make one with a pre-training experiment."
        )
    try:
        content: dict[str, Any] = load_file(path) if path.suffix == ".safetensors" else _load_pickle(path)
    except Exception as error:  # what torch raises on damaged files is of many kinds
        raise ValueError(f"{path} is not a readable weights file (damaged, or it holds more than tensors).") from error
    parts = [part for part in ("ema", "model") if isinstance(content.get(part), dict)]
    if weights is not None and weights not in parts:
        raise ValueError(f"{path} has no part named {weights!r}; it holds {' and '.join(parts) or 'bare weights'}.")
    part = weights or next(iter(parts), None)
    tensors: dict[str, Any] = content[part] if part else content
    if not tensors or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in tensors.items()):
        raise ValueError(f"{path} does not hold a backbone's weights: it must map names to tensors.")
    return tensors, part or "bare weights"


def _load_pickle(path: Path) -> dict[str, Any]:
    # Public DiT training checkpoints keep their command line beside the weights, as a Namespace of plain values.
    with torch.serialization.safe_globals([argparse.Namespace]):
        # Mapped, so that of a training checkpoint only the part that is wanted is read. Older files cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    return content if isinstance(content, dict) else {}


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
