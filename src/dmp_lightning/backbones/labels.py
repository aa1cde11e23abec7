"""Class tables of another size: which row of a checkpoint each label of a backbone starts from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import yaml
from jaxtyping import Float
from torch import Tensor

Labels = str | Sequence | Mapping
"""What a user may write: it is checked where it is read."""


def fit_labels(
    table: Float[Tensor, "old D"], labels: Labels, num_classes: int, null_row: bool
) -> Float[Tensor, "new D"]:
    """The table of a backbone of `num_classes`, with a null row after them where `null_row` says so.

    Rows that come from nowhere are normally distributed, as at the start of training, and the same in every run: a
    patch is tied to them. Where there is a null row, the last row of `table` is taken for it.

    Args:
        table: of the checkpoint. labels: `strict`, `table` as it is; `reinit`, new rows for all classes; a list, entry
            n the old label that the new label n starts from, or None; a mapping from old to new labels; or the path of
            a JSON or YAML file with one of these two.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds neither, or names a label that there is not.
    """
    if labels == "strict":
        return table
    old_classes = len(table) - null_row
    source = [None] * num_classes if labels == "reinit" else _sources(labels, num_classes)
    if len(source) != num_classes:
        raise ValueError(f"backbone.labels lists {len(source)} labels, the backbone has {num_classes}: list each.")
    new = 0.02 * torch.randn(num_classes + null_row, table.shape[1], generator=torch.Generator().manual_seed(0))
    new = new.to(table.dtype)
    for row, old in enumerate(source):
        if old is None:
            continue
        if not 0 <= old < old_classes:
            raise ValueError(f"backbone.labels names the label {old}: the checkpoint has 0 to {old_classes - 1}.")
        new[row] = table[old]
    if null_row:
        new[-1] = table[-1]
    return new


def _sources(labels: Labels, num_classes: int) -> list[int | None]:
    """The old label of each new one."""
    found = _read(Path(labels)) if isinstance(labels, str) else labels
    if isinstance(found, Mapping) and all(_is_label(label) for pair in found.items() for label in pair):
        beyond = [new for new in found.values() if not 0 <= new < num_classes]
        if beyond or len(set(found.values())) < len(found):
            reason = f"{beyond[0]}, but the backbone has 0 to {num_classes - 1}" if beyond else "one new label twice"
            raise ValueError(f"backbone.labels maps to {reason}.")
        old = {new: old for old, new in found.items()}
        return [old.get(new) for new in range(num_classes)]
    if isinstance(found, Sequence) and not isinstance(found, str) and all(x is None or _is_label(x) for x in found):
        return list(found)
    raise ValueError(
        f"backbone.labels={labels} is neither strict, reinit, a list of labels, nor a map from old to new."
    )


def _is_label(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read(path: Path) -> object:
    if not path.is_file():
        raise FileNotFoundError(f"backbone.labels={path}: choose strict, reinit, a list, or a JSON or YAML file.")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML as well
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is neither JSON nor YAML: write a list of labels, or a map from old to new."
        ) from error
    if isinstance(found, dict):  # JSON has no other keys than texts
        return {int(key) if isinstance(key, str) and key.isdigit() else key: value for key, value in found.items()}
    return found
