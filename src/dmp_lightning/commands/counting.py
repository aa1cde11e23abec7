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

    `checkpointed`: those with activation checkpointing, None where the model has none.
    """

    operations: float
    forward: float
    kept: int
    checkpointed: int | None


def count(method: Method, process: Process) -> Counted:
    """Count a step of a method that is on the `meta` device."""
    with FusedAttention() as attention, FlopCounterMode(display=False) as counter:
        loss, kept = forward_pass(method, process)
        forward = counter.get_total_flops() + attention.operations
        if loss.requires_grad:
            loss.backward()
        operations = counter.get_total_flops() + attention.operations + attention.backward
    return Counted(operations, forward, kept.bytes, checkpointed_bytes(method, process))


def forward_pass(method: Method, process: Process) -> tuple[Tensor, "Kept"]:
    """The loss of one sample, and what is kept for its backward pass."""
    x, condition = torch.empty(1, *method.backbone.sample_shape, device="meta"), some_condition(method.backbone)
    kept = Kept(method)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, _same):
        return loss_of(method, process, x, condition, draw(method, process, x.shape, None, x.device)).total, kept


def checkpointed_bytes(method: Method, process: Process) -> int | None:
    """Bytes kept with activation checkpointing: the inputs of the parts that run again, and the largest of these."""
    backbone, regions = method.backbone, Regions(method)
    if isinstance(backbone, Adapter):
        if not backbone.model._supports_gradient_checkpointing:
            return None
        backbone.model.enable_gradient_checkpointing(regions)
    else:
        backbone.run = regions  # type: ignore[assignment, method-assign]
    with FusedAttention():
        _, kept = forward_pass(method, process)
    for tensor in regions.inputs:
        kept.pack(tensor)
    return kept.bytes + regions.largest


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


class Regions:
    """Runs the parts of a model that checkpointing would run again; keeps their `inputs`, and the bytes of the
    `largest`.
    """

    def __init__(self, method: nn.Module) -> None:
        self.method, self.inputs, self.largest = method, list[Tensor](), 0

    def __call__(self, part: Callable[..., Any], *inputs: Any) -> Any:
        self.inputs += [each for each in inputs if isinstance(each, Tensor)]
        kept = Kept(self.method)
        with torch.autograd.graph.saved_tensors_hooks(kept.pack, _same):
            output = part(*inputs)
        self.largest = max(self.largest, kept.bytes)
        return output


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
