"""LoRA beside its equation, and how it and adaLN tuning fare from training to samples."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from dmp_lightning.backbones import DiT
from dmp_lightning.commands.export import export
from dmp_lightning.commands.sample import sample
from dmp_lightning.commands.train import train
from dmp_lightning.methods import Frozen, LoRA
from dmp_lightning.methods.patches import fingerprint
from tests.configs import SMALL, config, patched, small
from tests.methods.test_contract import base, batch


def lora(backbone: DiT, rank: int = 4, alpha: int = 6, targets: tuple[str, ...] = ("mlp.fc1",)) -> LoRA:
    """Adapters that are clearly felt."""
    method = LoRA(backbone, rank, alpha, targets)
    generator = torch.Generator().manual_seed(2)
    for value in method.exported().values():
        value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return method


def linear_of(method: LoRA, x: Tensor, values: dict[str, Tensor], alpha_over_rank: float) -> tuple[Tensor, Tensor]:
    """What the first block's fc1 gives for `x`, and what the equation says."""
    a, b = (values[f"blocks.0.mlp.fc1.lora_{part}.weight"] for part in "AB")
    plain = base().blocks[0].mlp.fc1
    weight = plain.weight + alpha_over_rank * b @ a
    return method.backbone.blocks[0].mlp.fc1(x), F.linear(x, weight, plain.bias)


def test_a_layer_computes_its_weight_plus_the_scaled_product() -> None:
    method, x = lora(base()), torch.randn(5, 32)
    found, expected = linear_of(method, x, method.exported(), 6.0 / 4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (expected - base().blocks[0].mlp.fc1(x)).abs().max() > 0.1


def test_strength_scales_the_product() -> None:
    method, x = lora(base()), torch.randn(5, 32)
    before = {name: value.clone() for name, value in method.exported().items()}
    for name, value in method.scale(before, 0.5).items():
        method.exported()[name].copy_(value)
    found, expected = linear_of(method, x, before, 0.5 * 6.0 / 4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_backbone_stays_as_it_is_and_lends_its_weights() -> None:
    backbone = base()
    method = lora(backbone)
    x, t, y, _ = batch(method, noisy=False)
    with torch.no_grad():
        assert torch.equal(Frozen(backbone)(x, t, y).output, base()(x, t, y))
        assert not torch.equal(method(x, t, y).output, base()(x, t, y))
    assert fingerprint(backbone) == fingerprint(base())
    ours, theirs = method.base(), backbone.state_dict()
    assert {name: value.data_ptr() for name, value in ours.items()} == {n: v.data_ptr() for n, v in theirs.items()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "method.rank=0: choose 1 or more"),
        ({"targets": ("qkv", "fc3")}, "names fc3, .* attn.qkv, attn.proj, mlp.fc1, mlp.fc2, adaLN_modulation.1"),
        ({"targets": ()}, "method.targets is empty"),
    ],
)
def test_what_cannot_be_adapted_is_an_error(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lora(base(), **options)


def test_without_peft_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install 'dmp-lightning\[lora\]'"):
        lora(base())


def pictures(folder: Path, patch: Path, *overrides: str) -> np.ndarray:
    quick = ["sampler.steps=3", "trainer.accelerator=cpu", "samples=2", f"run_dir={folder}", f"patch={patch}"]
    sample(config(*quick, *overrides, name="sample"))
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("patched/seed-0/*.png"))])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "adaln"])
def test_it_trains_resumes_exports_and_samples(method: str, tmp_path: Path) -> None:
    options = [f"method={method}", "recipe.ema_decay=0.5", "recipe.lr_scheduler.T_max=6"]
    whole = train(small(tmp_path / "whole", *options))
    train(small(tmp_path / "half", *options, "recipe.max_steps=3"))
    assert train(small(tmp_path / "half", *options, "resume=latest"))["loss"] == whole["loss"]
    patch, weights = tmp_path / "whole" / "patch.safetensors", f"backbone.weights={tmp_path}/base.safetensors"
    trained, resumed = load_file(patch), load_file(tmp_path / "half" / "patch.safetensors")
    assert all(torch.equal(trained[name], resumed[name]) for name in trained)
    checkpoint = tmp_path / "whole" / "checkpoints" / "step-6.ckpt"
    exported = export(
        config(*SMALL, *options, weights, f"checkpoint={checkpoint}", f"output={tmp_path}/e.safetensors", name="export")
    )
    again = load_file(exported)
    assert trained.keys() == again.keys()
    assert all(torch.equal(trained[name], again[name]) for name in trained)
    drawn = pictures(tmp_path / "patched", exported, weights, "strength=100")  # six steps alone hardly show
    assert not np.array_equal(drawn, pictures(tmp_path / "strength", exported, weights, "strength=0"))
    assert np.array_equal(drawn, pictures(tmp_path / "again", patch, weights, "strength=100"))


@pytest.mark.parametrize("name", ["lora", "adaln"])
def test_the_base_beside_a_patch_is_the_base_still(name: str, tmp_path: Path) -> None:
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from dmp_lightning.methods import save_patch

    settings = OmegaConf.to_container(config(f"method={name}").method, resolve=True)
    tensors = instantiate(settings)(backbone=base()).exported()
    moved = {name: value + 0.1 for name, value in tensors.items()}
    save_patch(moved, tmp_path / "patch.safetensors", fingerprint(base()), {"method": settings})
    backbone = base()
    control, method = Frozen(backbone), patched(backbone, tmp_path / "patch.safetensors")
    x, t, y, _ = batch(method, noisy=False)
    with torch.no_grad():
        assert torch.equal(control(x, t, y).output, base()(x, t, y))
        assert not torch.equal(method(x, t, y).output, base()(x, t, y))
