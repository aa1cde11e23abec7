"""Loading a backbone's weights from files of others, strictly."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dmp_lightning.backbones import diffusers_format
from dmp_lightning.backbones.base import Backbone
from dmp_lightning.backbones.positions import ROUNDED
from dmp_lightning.backbones.recognise import LINEAR, PROJECTORS, check_recognised, recognise, refuse_others
from dmp_lightning.backbones.sizes import compare_sizes
from dmp_lightning.backbones.weight_sets import Found, read_weights
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LABEL_TABLE = "y_embedder.embedding_table.weight"
POSITIONS = "pos_embed"
FREQUENCIES = {
    "release": "the release's, with which public weights were trained. Diffusers' own class computes others: "
    "backbone.model.timestep_frequencies=diffusers.",
    "diffusers": "diffusers' own. Public weights were trained with the release's: "
    "backbone.model.timestep_frequencies=release.",
}
LABELS_REMEDY = (
    "Set backbone.model.num_classes and class_dropout_prob to those of the file (a null label takes a row), or "
    "backbone.labels=reinit for new classes."
)
OUTPUT_REMEDY = (
    "Set ++backbone.model.predicts to what it predicts: epsilon_and_variance or sit, with two channels for each of the "
    "input's, or epsilon, v or velocity, with one."
)


def load_weights(
    backbone: Backbone,
    path: str | Path,
    part: str | None = None,
    labels: str = "strict",
    predicts: str | None = None,
) -> Backbone:
    """Load the weights in `path` into `backbone`, all of them, and return it.

    A file in safetensors' or torch's format, whatever its name: bare weights, or a training checkpoint that holds them
    under names like `ema`, `model` or `state_dict`, with the prefixes of DDP, torch.compile or a LightningModule, which
    are taken off; an index of shards; or a folder in diffusers' format. The log says what was taken. `part` chooses
    between several sets of weights; by default the averaged one is taken. `labels` says what becomes of a class table
    of another size, see `fit_labels`. `predicts` says what they predict, if the user knows
    better than the file: `epsilon`, `v`, `velocity` or `sit`.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file cannot be read safely, or is another model's; a weight is missing, unexpected, of another
            shape, or not finite.
    """
    expected = backbone.state_dict()
    found = read_weights(path, expected, part)
    file, tensors, name = found.file, dict(found.weights.tensors), found.name or "bare weights"
    if diffusers_format.is_one(tensors):
        diffusers_format.check_config(file, backbone)
        tensors, name = diffusers_format.convert(tensors), "diffusers' format"
        log.info("Timestep frequencies: %s", FREQUENCIES[getattr(backbone, "timestep_frequencies", "release")])
        tensors[POSITIONS] = expected[POSITIONS]
    refuse_others(file, tensors)
    compare_sizes(file, tensors, backbone)
    check_recognised(file, recognise(file, tensors, found.content), backbone, predicts)
    tensors = {key: value for key, value in tensors.items() if not key.startswith(PROJECTORS)}
    if LABEL_TABLE in tensors:
        null_row = backbone.null_label is not None
        tensors[LABEL_TABLE] = fit_labels(tensors[LABEL_TABLE], labels, backbone.num_classes, null_row)
    check_fit(file, tensors, expected)
    backbone.load_state_dict(tensors)
    log.info("Base weights: %s (%s)", path, "; ".join([name, *_remarks(found, tensors, expected)]))
    return backbone


def fit_labels(table: Float[Tensor, "old D"], labels: str, num_classes: int, null_row: bool) -> Float[Tensor, "new D"]:
    """The class table for a backbone of `num_classes`, and a null row after them where `null_row` says so.

    New rows are drawn from N(0, 0.02^2) with a fixed seed, because a patch depends on them.

    Args:
        table: of the checkpoint. labels: `strict`, the table as it is; or `reinit`, new rows for all classes. The null
            row, the last, is kept.

    Raises:
        UserError: `labels` is neither.
    """
    if labels == "strict":
        return table
    if labels != "reinit":
        raise UserError(f"backbone.labels={labels} is unknown: choose strict or reinit.")
    new = 0.02 * torch.randn(num_classes + null_row, table.shape[1], generator=torch.Generator().manual_seed(0))
    new = new.to(table.dtype)
    if null_row:
        new[-1] = table[-1]
    return new


def in_dtype(name: str, build: Callable[[], Backbone]) -> Backbone:
    """A backbone with weights of that type from the start, so that a large one is never held in two.

    Raises:
        UserError: there is no such type.
    """
    if name not in DTYPES:
        raise UserError(f"backbone.dtype={name} is unknown: choose {' or '.join(DTYPES)}.")
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[name])
    try:
        return build().to(DTYPES[name])
    finally:
        torch.set_default_dtype(before)


def check_fit(file: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Make sure that the tensors in a file are those that a backbone has.

    Raises:
        UserError: a name or a shape differs, or one does not hold finite numbers.
    """
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing:
        raise UserError(
            f"{file} lacks {_some(missing)}, which the configured backbone needs: choose another backbone or file."
        )
    if unexpected:
        raise UserError(
            f"{file} has {_some(unexpected)}, which the configured backbone lacks: choose another backbone or file."
        )
    for key, value in expected.items():
        if value.shape != found[key].shape:
            remedy = {LABEL_TABLE: f" {LABELS_REMEDY}", LINEAR: f" {OUTPUT_REMEDY}"}.get(key, "")
            raise UserError(
                f"{file}: {key} has shape {tuple(found[key].shape)}, but the backbone needs {tuple(value.shape)}."
                f"{remedy}"
            )
        if not found[key].is_floating_point() or not found[key].isfinite().all():
            kind = _short(found[key].dtype)
            raise UserError(f"{file}: {key} ({kind}) does not hold finite floating-point numbers: choose another file.")
    if POSITIONS in expected:
        off = (found[POSITIONS].float() - expected[POSITIONS].float()).abs().max().item()
        if off > ROUNDED:
            log.warning("%s has other position embeddings than a DiT (by up to %.3g). They are used.", file, off)


def _remarks(found: Found, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    said = [f"removed {found.weights.prefix} from the names"] if found.weights.prefix else []
    if found.weights.unused:
        said.append(f"ignored {found.weights.unused:,} other tensor{'s' * (found.weights.unused > 1)}")
    if found.others:
        said.append(f"it also holds {', '.join(found.others)}: choose with backbone.part")
    types = {value.dtype for value in tensors.values()} - {value.dtype for value in expected.values()}
    kept = next(iter(expected.values())).dtype
    return said + [f"converted from {_short(dtype)} to {_short(kept)}" for dtype in sorted(types, key=str)]


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
