"""Models that look like a DiT: recognised by names, shapes, how they were trained, and what they predict."""

import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dmp_lightning.backbones import DiT, check_prediction, load_weights

ASSETS = Path(__file__).parents[2] / "src" / "dmp_lightning" / "assets"
SIZES = {"input_size": 8, "in_channels": 1, "patch_size": 2, "width": 32, "depth": 3, "heads": 2, "num_classes": 1}


def dit(**changes) -> DiT:
    return DiT(**SIZES | {"class_dropout_prob": 0.0} | changes)


def state() -> dict[str, Tensor]:
    return load_file(ASSETS / "digits_dit.safetensors")


def without_variance(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    linear = weights["final_layer.linear.weight"].clone()
    linear.unflatten(0, (-1, 2, 1))[:, 1] = 0
    return weights | {"final_layer.linear.weight": linear}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.pt",
            state() | {"projectors.0.0.weight": torch.ones(2)},
            r"a SiT trained with REPA \(it has the weight projectors\.0",
        ),
        ("a.pt", state() | {"blocks.0.mlp.w12.weight": torch.ones(2)}, "is a LightningDiT.*predicts a velocity"),
        ("a.pt", state() | {"decoder_blocks.0.x": torch.ones(2)}, "is a MaskDiT"),
        ("a.pt", state() | {"final_layer.linear.weight": torch.ones(4, 32)}, "predicts no variance"),
        (
            "a.pt",
            {"ema": state(), "args": argparse.Namespace(path_type="Linear", model="SiT-B/2")},
            "path_type='Linear'",
        ),
        ("SiT-XL-2-256x256.pt", state(), r"seems to hold a SiT \(its file is named SiT-XL-2-256x256\.pt\)"),
        ("a.pt", without_variance(state()), "for the variance is zero, as in a SiT"),
    ],
)
def test_a_model_that_is_no_dit_is_refused(tmp_path: Path, name: str, content: dict, message: str) -> None:
    torch.save(content, tmp_path / name)
    with pytest.raises(ValueError, match=message):
        load_weights(dit(), tmp_path / name)


@pytest.mark.parametrize(("name", "content"), [("my_sit.pt", state()), ("a.pt", without_variance(state()))])
def test_who_knows_better_may_say_so(tmp_path: Path, name: str, content: dict) -> None:
    torch.save(content, tmp_path / name)
    load_weights(dit(), tmp_path / name, predicts="epsilon")
    with pytest.raises(ValueError, match=r"backbone\.predicts=velocity is not supported"):
        load_weights(dit(), tmp_path / name, predicts="velocity")


def test_names_with_the_same_letters_are_no_hint(tmp_path: Path) -> None:
    for name in ("transition.pt", "repaired.pt", "website_dit.pt"):
        torch.save(state(), tmp_path / name)
        load_weights(dit(), tmp_path / name)


def test_what_a_model_predicts_of_noise_tells_its_objective(caplog) -> None:
    for name in ("digits_dit", "digits_dit_ema"):
        base = dit()
        base.load_state_dict(load_file(ASSETS / f"{name}.safetensors"))
        check_prediction(base, name)
    check_prediction(dit(), "new")
    assert not caplog.messages
    opposite = dit()
    opposite.load_state_dict(state())
    opposite.final_layer.linear.weight.data.neg_()
    opposite.final_layer.linear.bias.data.neg_()
    with pytest.raises(ValueError, match=r"does not predict epsilon .*999: -1\.00.* may be a SiT"):
        check_prediction(opposite, "a.pt")
    opposite.load_state_dict({name: torch.randn_like(value) / 8 for name, value in state().items()})
    torch.manual_seed(0)
    check_prediction(opposite, "a.pt")
    assert "predicts epsilon poorly" in caplog.text
