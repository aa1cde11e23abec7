"""Models that look like a DiT: recognised by names, shapes, how they were trained, and what they predict."""

import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dmp_lightning.backbones import Backbone, DiT, check_prediction, load_weights
from dmp_lightning.backbones.sizes import in_weights

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


def repa() -> dict[str, Tensor]:
    """With as many channels as the input has, and with what REPA has besides."""
    linear = {f"final_layer.linear.{part}": state()[f"final_layer.linear.{part}"] for part in ("weight", "bias")}
    single = {name: value.unflatten(0, (-1, 2, 1))[:, 0].flatten(0, 1) for name, value in linear.items()}
    return state() | single | {"projectors.0.0.weight": torch.ones(2), "projectors.0.0.bias": torch.ones(2)}


SIT_ARGUMENTS = argparse.Namespace(path_type="Linear", model="SiT-B/2")
REPA_ARGUMENTS = argparse.Namespace(path_type="linear", model="SiT-XL/2", enc_type="dinov2-vit-b")
FLOWS = {
    "SiT, by its arguments": ("a.pt", {"ema": state(), "args": SIT_ARGUMENTS}, "sit", "path_type='Linear'"),
    "SiT, by its name": ("SiT-XL-2-256x256.pt", state(), "sit", r"its file is named SiT-XL-2-256x256\.pt"),
    "SiT, by its weights": ("a.pt", without_variance(state()), "sit", "variance is zero, as in a SiT"),
    "REPA, by its weights": ("a.pt", repa(), "velocity", r"it has REPA's projectors\.0\.0"),
    "REPA, by its arguments": ("a.pt", {"ema": repa(), "args": REPA_ARGUMENTS}, "velocity", "projectors"),
    "REPA, by its name": (
        "repa.pt",
        {name: value for name, value in repa().items() if "projectors" not in name},
        "velocity",
        "its file is named repa",
    ),
}
flows = pytest.mark.parametrize(("name", "content", "predicts", "hint"), FLOWS.values(), ids=FLOWS.keys())


@flows
def test_a_flow_is_refused_by_a_dit_that_predicts_epsilon(
    tmp_path: Path, name: str, content: dict, predicts: str, hint: str
) -> None:
    torch.save(content, tmp_path / name)
    with pytest.raises(
        ValueError, match=rf"seems to predict {predicts} \(.*{hint}.*predicts={predicts}, or backbone=from"
    ):
        load_weights(dit(), tmp_path / name)


@flows
def test_a_flow_is_loaded_by_a_dit_that_predicts_the_same(
    tmp_path: Path, name: str, content: dict, predicts: str, hint: str
) -> None:
    torch.save(content, tmp_path / name)
    model = load_weights(dit(predicts=predicts), tmp_path / name)
    assert model.predicts == "velocity"
    assert torch.equal(model.state_dict()["blocks.2.attn.qkv.weight"], state()["blocks.2.attn.qkv.weight"])
    assert in_weights("predicts", str(tmp_path / name), None, 0.0) == predicts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (state() | {"blocks.0.mlp.w12.weight": torch.ones(2)}, "is a LightningDiT"),
        (state() | {"decoder_blocks.0.x": torch.ones(2)}, "is a MaskDiT"),
        (state() | {"final_layer.linear.weight": torch.ones(4, 32)}, r"Set \+\+backbone\.model\.predicts to what"),
    ],
)
def test_a_model_that_is_no_dit_is_refused(tmp_path: Path, content: dict, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        load_weights(dit(), tmp_path / "a.pt")


@pytest.mark.parametrize(("name", "content"), [("my_sit.pt", state()), ("a.pt", without_variance(state()))])
def test_who_knows_better_may_say_so(tmp_path: Path, name: str, content: dict) -> None:
    torch.save(content, tmp_path / name)
    load_weights(dit(), tmp_path / name, predicts="epsilon")
    assert in_weights("predicts", str(tmp_path / name), None, 0.0, "epsilon") == "epsilon_and_variance"
    with pytest.raises(ValueError, match=r"seems to predict velocity \(backbone\.predicts says so\)"):
        load_weights(dit(), tmp_path / name, predicts="velocity")
    with pytest.raises(ValueError, match=r"backbone\.predicts=x0 is unknown: choose epsilon, v, velocity, sit"):
        load_weights(dit(), tmp_path / name, predicts="x0")


def test_a_file_that_does_not_tell_what_it_predicts_is_to_be_described(tmp_path: Path) -> None:
    single = {name: value for name, value in repa().items() if "projectors" not in name}
    torch.save(single, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"does not tell what it predicts: set backbone\.predicts"):
        in_weights("predicts", str(tmp_path / "a.pt"), None, 0.0)
    for told in ("epsilon", "v", "velocity"):
        assert in_weights("predicts", str(tmp_path / "a.pt"), None, 0.0, told) == told
        load_weights(dit(predicts=told), tmp_path / "a.pt", predicts=told)
        load_weights(dit(predicts=told), tmp_path / "a.pt")


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
    with pytest.raises(ValueError, match=r"does not predict epsilon .*999: -1\.00.*set backbone\.predicts"):
        check_prediction(opposite, "a.pt")
    opposite.load_state_dict({name: torch.randn_like(value) / 8 for name, value in state().items()})
    torch.manual_seed(0)
    check_prediction(opposite, "a.pt")
    assert "predicts epsilon poorly" in caplog.text


class Guess(Backbone):
    """A base that predicts its input times a factor, and keeps the times that it was called at."""

    def __init__(self, predicts: str, factor: float) -> None:
        super().__init__()
        self.predicts, self.factor, self.num_classes, self.sample_shape = (
            predicts,
            nn.Parameter(torch.ones(1)),
            1,
            (1, 8, 8),
        )
        self.factor.data *= factor
        self.times: list[float] = []

    def forward(self, x: Tensor, t: Tensor, condition: object, enter: object = None) -> Tensor:
        self.times += t.tolist()
        return self.factor * x


@pytest.mark.parametrize(
    ("predicts", "time", "right", "wrong"),
    [("epsilon", 999, 1.0, -0.8), ("velocity", 1.0, 0.8, -0.8), ("v", 999, 0.0, 0.99), ("v", 999, 0.0, -0.99)],
)
def test_each_prediction_is_tried_on_pure_noise(predicts: str, time: float, right: float, wrong: float) -> None:
    model = Guess(predicts, right)
    check_prediction(model, "a.pt")
    assert set(model.times) == {time}
    with pytest.raises(ValueError, match=rf"does not predict {predicts} \(correlation with pure noise at time {time}"):
        check_prediction(Guess(predicts, wrong), "a.pt")
