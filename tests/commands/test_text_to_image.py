"""The experiments on published text-to-image models: their sizes, what they cost, and a step at their full width."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dmp_lightning.backbones import Adapter, family_of, load_diffusers
from dmp_lightning.commands.cost import say_cost
from dmp_lightning.commands.counting import count
from dmp_lightning.commands.train import train
from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.flow import Flow
from dmp_lightning.methods import Method
from dmp_lightning.patching.attach import attach
from dmp_lightning.patching.objective import draw, loss_of
from dmp_lightning.user_error import MissingFileError
from tests.backbones.tiny import build
from tests.configs import config

SIZES = {  # parameters of the base, as its model card or the count of others has it, and of the patch
    "sd15": (859_520_964, 3.28e6),
    "pixart_sigma": (610_856_096, 8.55e6),
    "sd3_medium": (2_028_328_000, 9.83e6),
    "flux_dev": (11_901_408_320, 45.6e6),
    "sana_1600m": (1_604_462_752, 12.0e6),
    "coco_dit_b2": (None, 2.56e6),
}
slow = pytest.mark.slow
QUICK = ("sana_1600m",)


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = capsys.readouterr().out.splitlines()
    return {line[:26].strip(): line[26:].strip() for line in lines if line[26:]}


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=slow) for name in SIZES])
def test_an_experiment_says_its_size_and_its_cost(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say_cost(config(f"+experiment={name}", "+mode=cost", "run_dir=runs/test"))
    found = said(capsys)
    base, patch = SIZES[name]
    counted = int(found["base"].split()[0].replace(",", ""))
    assert base in (None, counted)
    size = int(found["mixture of prompts (DMP)"].split()[0].replace(",", ""))
    assert size == pytest.approx(patch, rel=0.006)
    assert float(found["memory"].split()[-1]) < 80  # GiB of an H100


@slow
@pytest.mark.parametrize("name", SIZES)
def test_a_step_at_full_width(name: str, tmp_path: Path) -> None:
    where = [f"run_dir={tmp_path}/run", f"base_results={tmp_path}/base", "logger=csv", "trainer.accelerator=cpu"]
    metrics = train(config(f"+experiment={name}", "+mode=dry_run", *where))
    assert 0 < metrics["loss"] < 100
    assert metrics["loss_difference"] != 0


@pytest.mark.parametrize("name", ["sd15", "flux_dev"])
def test_without_the_repository_a_sentence_says_how_to_get_it(name: str) -> None:
    path = config(f"+experiment={name}", "run_dir=runs/test").backbone.path
    with pytest.raises(MissingFileError, match=rf"{path} is no folder, .* download it with hf download {path}"):
        load_diffusers(path)


def method_on(device: str) -> Method:
    patch = attach(build("SD3Transformer2DModel", attention_head_dim=32, caption_projection_dim=64).to(device), grid=4)
    patch.remove()
    patch.method.backbone.sample_shape = (4, 8, 8)
    return patch.method


def test_the_count_without_memory_is_that_of_a_real_step() -> None:
    """Bytes that torch keeps for the backward pass, by the addresses of real tensors."""
    found = count(method_on("meta"), Flow())
    method, kept = method_on("cpu"), {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # which keeps the address from being used again
        return tensor

    x, condition = torch.randn(1, 4, 8, 8), Condition(text=torch.randn(1, 8, 12), pooled=torch.randn(1, 10))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(method, Flow(), x, condition, draw(method, Flow(), x.shape, None, torch.device("cpu")))
    assert loss.total.requires_grad
    own = {each.untyped_storage().data_ptr() for each in (*method.parameters(), *method.buffers())}
    real = sum(each.untyped_storage().nbytes() for address, each in kept.items() if address not in own)
    assert found.kept == pytest.approx(real, rel=0.03)
    assert 2 * found.forward < found.operations < 3.1 * found.forward


def test_operations_of_a_dit_are_those_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/cost.md: DiT-B/2, 46.0 GFLOP of a forward pass and 94.4 of a step of dmp; for the step of full
    fine-tuning 138.
    """
    for method, step in (("dmp", 94.4), ("full_finetune", 138.0)):
        say_cost(config("+experiment=ffhq_dit_b2", f"method={method}", "+mode=cost", "run_dir=runs/test"))
        words = said(capsys)["operations"].split()
        assert float(words[0]) == pytest.approx(step, rel=0.005)
        assert float(words[5]) == pytest.approx(46.0, rel=0.005)


def test_a_config_of_an_older_repository_is_understood() -> None:
    """PixArt's own say that they are a Transformer2DModel."""
    with torch.device("meta"):
        model = load_diffusers("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", weights=False, blocks=2).model
    assert type(model).__name__ == "PixArtTransformer2DModel"
    assert len(model.transformer_blocks) == 2
    assert Adapter(model, family_of(model)).predicts == "epsilon_and_variance"
