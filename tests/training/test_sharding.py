"""Two processes that share out a frozen base compute what one does that holds it whole."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.testing import assert_close

from dmp_lightning.backbones import Adapter, DiT, family_of
from dmp_lightning.condition import Condition
from dmp_lightning.methods import DMP, Frozen, FullFinetune, LoRA, Method
from dmp_lightning.prompts import LinearGate
from dmp_lightning.training.sharding import shard_frozen
from tests.backbones.tiny import build
from tests.conftest import load_golden_dit
from tests.processes import forkserver


def base() -> DiT:
    return load_golden_dit.__wrapped__("dit_class_conditional").backbone  # not the one that all tests share


def foreign() -> Adapter:
    """A model of diffusers that takes labels."""
    model = build("DiTTransformer2DModel")
    backbone = Adapter(model, family_of(model))
    backbone.sample_shape = (4, 8, 8)
    return backbone


def methods() -> tuple[Method, ...]:
    """A control and two patches on one base, and a patch on a model of diffusers; what counts of them is random."""
    backbone = base()
    adapted = LoRA(backbone, rank=2, alpha=2.0, targets=["qkv", "fc1"])
    for value in adapted.exported().values():
        torch.nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(0))
    control, patched = Frozen(backbone), DMP(backbone, LinearGate, {"importance": 1.0, "load": 1.0})
    torch.nn.init.normal_(patched.mixture.prompts, generator=torch.Generator().manual_seed(0))
    entering = DMP(foreign(), LinearGate, {"importance": 1.0, "load": 1.0}, grid=[4, 4])
    for prompts in entering.mixture.prompts:
        torch.nn.init.normal_(prompts, generator=torch.Generator().manual_seed(0))
    return control, patched, adapted, entering


def results(method: Method, share: slice) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The outputs for a share of a batch, and the gradients of what is trained."""
    backbone = method.backbone
    x = torch.randn(4, *backbone.sample_shape, generator=torch.Generator().manual_seed(1))
    t, condition = torch.tensor([0, 10, 500, 999]), Condition(torch.tensor([0, 1, 0, 1]))
    output = method.eval()(x[share], t[share], condition.take(share)).output
    trained = {name: value for name, value in method.trained().items() if name not in method.training_only}
    if not trained:
        return output, {}
    return output, dict(zip(trained, torch.autograd.grad(output.square().sum(), trained.values()), strict=True))


def compare(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    share = slice(2 * rank, 2 * rank + 2)
    expected = [results(method, share) for method in methods()]
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    with pytest.raises(ValueError, match="choose trainer=ddp"):
        shard_frozen(FullFinetune(base()), mesh)
    for method, (output, gradients) in zip(methods(), expected, strict=True):
        shard_frozen(method, mesh)  # the second finds the base as the first has left it; the others have their own
        found = results(method, share)
        assert_close(found[0], output)
        assert_close(found[1], gradients)
        whole = set(method.backbone.blocks[0].parameters()) if isinstance(method.backbone, Adapter) else set()
        frozen = [
            value for value in method.backbone.blocks.parameters() if not value.requires_grad and value not in whole
        ]
        shares = [value.to_local().numel() for value in frozen]
        assert 0.4 < sum(shares) / sum(value.numel() for value in frozen) < 0.6  # widths may be odd
        assert all(type(value) is torch.nn.Parameter for value in method.trained().values())
    dist.destroy_process_group()


def test_shards_compute_what_the_whole_does(tmp_path: Path) -> None:
    processes = [forkserver.Process(target=compare, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
