"""Class tables of another size: strict, new rows, or rows that a map names."""

import json
from pathlib import Path

import pytest
import torch

from dmp_lightning.backbones import DiT, load_weights
from dmp_lightning.backbones.labels import fit_labels

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
        ([3, 3, None, 0], 4, True, [3, 3, None, 0, 5]),
        ({3: 0, 1: 2}, 3, True, [3, None, 1, 5]),
        ([5], 1, False, [5]),  # without a null label the last row is a class
    ],
)
def test_each_row_comes_from_where_it_should(labels, num_classes, null_row, expected) -> None:
    assert rows(labels, num_classes, null_row) == expected


@pytest.mark.parametrize(("name", "content"), [("a.json", '{"3": 0}'), ("a.yaml", "3: 0"), ("b.json", "[3]")])
def test_a_map_may_be_a_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert rows(str(tmp_path / name), 1) == [3, 5]


def test_new_rows_are_the_same_in_every_run_and_differ_from_each_other() -> None:
    first = fit_labels(TABLE, "reinit", 3, True)
    torch.manual_seed(5)
    assert torch.equal(first, fit_labels(TABLE, "reinit", 3, True))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "lists 2 labels, the backbone has 3"),
        ([0, 1, 5], "names the label 5: the checkpoint has 0 to 4"),
        ({0: 3}, "maps to 3, but the backbone has 0 to 2"),
        ({0: 1, 2: 1}, "maps to one new label twice"),
        ([0, 1, "cat"], "neither strict, reinit, a list"),
        ({"cat": 1}, "neither strict, reinit, a list"),
    ],
)
def test_maps_that_do_not_fit_are_refused(labels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_labels(TABLE, labels, 3, True)


def test_files_that_are_no_map_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"backbone\.labels=.*nowhere: choose strict"):
        fit_labels(TABLE, str(tmp_path / "nowhere"), 3, True)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="neither JSON nor YAML"):
        fit_labels(TABLE, str(tmp_path / "bad.json"), 3, True)
    (tmp_path / "other.json").write_text(json.dumps("strict"))
    with pytest.raises(ValueError, match="neither strict, reinit"):
        fit_labels(TABLE, str(tmp_path / "other.json"), 3, True)


def test_a_checkpoint_of_other_classes(tmp_path: Path) -> None:
    def dit(num_classes: int) -> DiT:
        return DiT(input_size=4, in_channels=1, patch_size=2, width=8, depth=1, heads=1, num_classes=num_classes,
                   class_dropout_prob=0.1)  # fmt: skip

    old = dit(3)
    torch.save(old.state_dict(), tmp_path / "old.pt")
    with pytest.raises(ValueError, match=r"shape \(4, 8\), the backbone needs \(3, 8\).*backbone\.labels to reinit"):
        load_weights(dit(2), tmp_path / "old.pt")
    table = load_weights(dit(2), tmp_path / "old.pt", labels=[2, 0]).y_embedder.embedding_table.weight
    assert torch.equal(table, old.y_embedder.embedding_table.weight[[2, 0, 3]])
