"""Counting what a training step takes by its shapes, on torch's `meta` device: tensors there take no memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from dmp_lightning.backbones import Adapter, Backbone
from dmp_lightning.condition import Condition
from dmp_lightning.diffusion.process import Process
from dmp_lightning.methods import Method
from dmp_lightning.patching.objective import draw, loss_of


class Counted(NamedTuple):
    """Of a step with one sample: `operations`, those of its `forward` pass, and bytes `kept` for the backward pass.

    `entering`: bytes of the tokens that enter all blocks, which are kept with activation checkpointing.
    """

    operations: float
    forward: float
    kept: int
    entering: int


def count(method: Method, process: Process) -> Counted:
    """Count a step of a method that is on the `meta` device."""
    backbone = method.backbone
    x, condition = torch.empty(1, *backbone.sample_shape, device="meta"), some_condition(backbone)
    kept = Kept(method)
    blocks = [block for _, block in backbone.sites] if isinstance(backbone, Adapter) else list(backbone.blocks)
    entering: dict[int, Tensor] = {}

    def see(_: nn.Module, args: Any, kwargs: Any) -> None:
        entering.update({id(each): each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)})

    handles = [block.register_forward_pre_hook(see, with_kwargs=True) for block in blocks]
    with FusedAttention() as attention, FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(kept.pack, _same):
            loss = loss_of(method, process, x, condition, draw(method, process, x.shape, None, x.device)).total
        forward = counter.get_total_flops() + attention.operations
        if loss.requires_grad:
            loss.backward()
        operations = counter.get_total_flops() + attention.operations + attention.backward
    for handle in handles:
        handle.remove()
    return Counted(operations, forward, kept.bytes, sum(nbytes(each) for each in entering.values()))


class Kept:
    """The bytes of all that the backward pass of a method is given, but its weights."""

    def __init__(self, method: nn.Module) -> None:
        own = (*method.parameters(), *method.buffers())
        self._storages = {each.untyped_storage()._cdata: each for each in own}
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._storages:
            self._storages[storage._cdata] = tensor  # which keeps the address from being used again
            self.bytes += storage.nbytes()
        return tensor


class FusedAttention(TorchFunctionMode):
    """Attention as fused kernels do it: without the matrix of weights. It counts its operations, and computes nothing.

    A backward pass through attention is taken for two forward passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.backward = 0.0

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        query, key, value = named["query"], named["key"], named["value"]
        found = 2 * key.shape[-2] * (query.numel() + query.numel() // query.shape[-1] * value.shape[-1])
        self.operations += found
        if any(each.requires_grad for each in (query, key, value)):
            self.backward += 2 * found
        return _Attention.apply(query, key, value)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, output)
        return output

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(each) for each in ctx.saved_tensors[:3])


def some_condition(backbone: Backbone) -> Condition:
    """A condition of the shapes that the base takes."""
    needs = backbone.needs if isinstance(backbone, Adapter) else {"label": [1]}
    with torch.device("meta"):
        return Condition(
            **{
                name: torch.zeros(1, dtype=torch.long)
                if name == "label"
                else torch.ones(1, *shape, dtype=torch.bool if name.startswith("mask") else torch.float32)
                for name, shape in needs.items()
            }
        )


def nbytes(tensor: Tensor) -> int:
    """The bytes of a tensor's numbers."""
    return tensor.numel() * tensor.element_size()


def _same(tensor: Tensor) -> Tensor:
    return tensor
