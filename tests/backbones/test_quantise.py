"""A frozen base in 8 bits by the config: close to the base, trained by the command, refused where it is not frozen."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dmp_lightning.backbones import load_diffusers
from dmp_lightning.backbones.quantise import quantise
from dmp_lightning.commands.train import train
from dmp_lightning.condition import Condition
from dmp_lightning.user_error import UserError
from tests.backbones.tiny import build
from tests.commands.test_diffusers import folders, short

__all__ = ["folders"]
SD3, UNET = "SD3Transformer2DModel", "UNet2DConditionModel"


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize("name", [SD3, UNET])
def test_the_blocks_are_held_in_8_bits_and_nothing_else_changes(name: str, kind: str, tmp_path: Path) -> None:
    build(name).save_pretrained(tmp_path)
    base = load_diffusers(tmp_path, dtype="bfloat16")
    small = load_diffusers(tmp_path, dtype="bfloat16", quantize=kind)
    whole = {name: type(value.data) for name, value in small.model.named_parameters()}
    inside = {
        f"{path}.weight"
        for path, layer in small.model.named_modules()
        if isinstance(layer, nn.Linear) and "transformer_blocks." in path
    }
    assert inside
    assert {name for name, kind in whole.items() if kind is not torch.Tensor} == inside
    x = torch.randn(2, *base.sample_shape, generator=torch.Generator().manual_seed(0))
    drawn = {key: torch.randn(2, *shape) for key, shape in base.needs.items()}
    t = torch.tensor([0.3, 0.7]) if base.predicts == "velocity" else torch.tensor([300, 700])
    with torch.no_grad():
        expected, found = (each(x, t, Condition(**drawn)) for each in (base, small))
    error = (found - expected).norm() / expected.norm()
    assert 0 < error < 0.05


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_patch_on_8_bits_is_trained_in_float32(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    options = [f"backbone.model.quantize={kind}", "backbone.dtype=bfloat16"]
    metrics = train(short(folders, SD3, tmp_path / "run", *options))
    assert metrics["loss_difference"] != 0
    with pytest.raises(UserError, match=rf"quantize={kind} is for a frozen base, but full fine-tuning trains"):
        train(short(folders, SD3, tmp_path / "other", *options, "method=full_finetune"))


def test_4_bits_need_their_library_and_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    monkeypatch.setattr("dmp_lightning.backbones.quantise.import_module", _missing)
    for kind, said in (("nf4", "needs bitsandbytes: pip install"), ("int8", "needs torchao: pip install torchao")):
        with pytest.raises(UserError, match=said):
            quantise(model, kind, ["0"])
    monkeypatch.setattr("dmp_lightning.backbones.quantise.import_module", lambda _: torch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="nf4 needs a CUDA GPU: choose int8 or fp8"):
        quantise(model, "nf4", ["0"])
    with pytest.raises(UserError, match=r"quantize=int4 is unknown: choose int8, fp8, nf4"):
        quantise(model, "int4", ["0"])


def _missing(name: str) -> None:
    raise ImportError(name)
