"""Sizes read from a file of weights, and compared with those of the config."""

from pathlib import Path

import pytest
import torch

from dmp_lightning.backbones import DiT, load_weights
from dmp_lightning.backbones.positions import grid_of
from dmp_lightning.backbones.sizes import in_weights, null_label
from dmp_lightning.commands.build import build_backbone
from tests.configs import config

SIZES = {"input_size": 8, "in_channels": 2, "patch_size": 4, "width": 64, "depth": 2, "heads": 1, "num_classes": 3}


@pytest.fixture
def file(tmp_path: Path) -> str:
    state = DiT(**SIZES, class_dropout_prob=0.1).state_dict()
    torch.save({"ema": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "base.pt")
    return str(tmp_path / "base.pt")


def test_all_sizes_are_read(file: str) -> None:
    dropout = null_label(file, None)
    assert {key: in_weights(key, file, None, dropout) for key in SIZES} == SIZES
    assert in_weights("num_classes", file, None, 0.0) == 4  # where the user says that there is no null label
    load_weights(DiT(**SIZES, class_dropout_prob=dropout), file)


@pytest.mark.parametrize("size", [[8, 16], [24, 4], [12, 12]])
def test_positions_tell_rows_and_columns(size: list[int], tmp_path: Path) -> None:
    state = DiT(**SIZES | {"input_size": size}, class_dropout_prob=0.0).state_dict()
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "a.pt")
    found = in_weights("input_size", str(tmp_path / "a.pt"), None, 0.0)
    assert (found if isinstance(found, list) else [found, found]) == size
    composed = config(
        "backbone=from_file", f"backbone.weights={tmp_path / 'a.pt'}", "backbone.model.class_dropout_prob=0.0"
    )
    assert build_backbone(composed).sample_shape == (2, *size)


def test_positions_of_another_kind_are_taken_for_those_of_a_square() -> None:
    assert grid_of(torch.randn(16, 64)) == (4, 4)
    assert grid_of(torch.randn(18, 6)) == (3, 6)


def test_a_config_takes_them_all(file: str) -> None:
    composed = config("backbone=from_file", f"backbone.weights={file}")
    assert {key: composed.backbone.model[key] for key in SIZES} == SIZES
    backbone = build_backbone(composed)
    assert (backbone.width, backbone.null_label) == (64, 3)


@pytest.mark.parametrize("change", [{"width": 128}, {"depth": 3}, {"patch_size": 2}, {"in_channels": 1}], ids=str)
def test_a_contradiction_names_both(file: str, change: dict) -> None:
    (key, value) = next(iter(change.items()))
    backbone = DiT(**SIZES | change, class_dropout_prob=0.1)
    with pytest.raises(
        ValueError, match=rf"has .*{key}={SIZES[key]}.* but the config has .*backbone\.model\.{key}={value}.*from_file"
    ):
        load_weights(backbone, file)


def test_what_gives_no_sizes_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"backbone=from_file reads the sizes from the weights: set backbone\.weights"):
        build_backbone(config("backbone=from_file"))
    torch.save({"x": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(
        ValueError, match="is not a DiT: its weights do not show depth and input_size and rows and width"
    ):
        in_weights("width", str(tmp_path / "a.pt"), None, 0.0)
    torch.save(DiT(**SIZES | {"width": 32}, class_dropout_prob=0.0).state_dict(), tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"width 32 cannot be guessed: set backbone\.model\.heads"):
        in_weights("heads", str(tmp_path / "b.pt"), None, 0.0)
