"""Class tables of another size: strict, or new rows."""

from pathlib import Path

import pytest
import torch

from dmp_lightning.backbones import DiT, load_weights
from dmp_lightning.backbones.weights import fit_labels

TABLE = torch.arange(6.0)[:, None].expand(6, 400).contiguous()  # row n holds n; the last is the null row, 5


def rows(labels, num_classes: int, null_row: bool = True) -> list[float | None]:
    """What each row is from: a row of the table, or None where it is new."""
    found = fit_labels(TABLE, labels, num_classes, null_row)
    assert found.shape == (num_classes + null_row, 400)
    for row in found:
        if row.unique().numel() > 1:
            assert row.std() == pytest.approx(0.02, rel=0.2)
    return [row[0].item() if row.unique().numel() == 1 else None for row in found]


@pytest.mark.parametrize(
    ("labels", "num_classes", "null_row", "expected"),
    [
        ("strict", 5, True, [0, 1, 2, 3, 4, 5]),
        ("reinit", 2, True, [None, None, 5]),
        ("reinit", 2, False, [None, None]),
    ],
)
def test_each_row_comes_from_where_it_should(labels, num_classes, null_row, expected) -> None:
    assert rows(labels, num_classes, null_row) == expected


def test_new_rows_are_the_same_in_every_run_and_differ_from_each_other() -> None:
    first = fit_labels(TABLE, "reinit", 3, True)
    torch.manual_seed(5)
    assert torch.equal(first, fit_labels(TABLE, "reinit", 3, True))
    assert not torch.equal(first[0], first[1])


def test_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone\.labels=\[0\] is unknown: choose strict or reinit"):
        fit_labels(TABLE, "[0]", 3, True)


def test_a_checkpoint_of_other_classes(tmp_path: Path) -> None:
    def dit(num_classes: int) -> DiT:
        return DiT(input_size=4, in_channels=1, patch_size=2, width=8, depth=1, heads=1, num_classes=num_classes,
                   class_dropout_prob=0.1)  # fmt: skip

    old = dit(3)
    torch.save(old.state_dict(), tmp_path / "old.pt")
    with pytest.raises(ValueError, match=r"shape \(4, 8\), but the backbone needs \(3, 8\).*backbone\.labels=reinit"):
        load_weights(dit(2), tmp_path / "old.pt")
    table = load_weights(dit(2), tmp_path / "old.pt", labels="reinit").y_embedder.embedding_table.weight
    assert torch.equal(table[2], old.y_embedder.embedding_table.weight[3])
    assert not torch.equal(table[0], old.y_embedder.embedding_table.weight[0])
