"""A frozen base in 8 or 4 bits: the weights of the linear layers of its blocks, by libraries made for that."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import nn

from dmp_lightning.user_error import UserError

TORCHAO = {"int8": "Int8WeightOnlyConfig", "fp8": "Float8WeightOnlyConfig"}
KINDS = (*TORCHAO, "nf4")


def quantise(model: nn.Module, kind: str, lists: Sequence[str]) -> None:
    """Hold the weights of all linear layers in `lists` of blocks in few bits; products are in the type of the tokens.

    Args:
        kind: `int8` or `fp8`, one byte each, rounded by torchao; or `nf4`, half a byte (Dettmers et al. 2023, arXiv
            2305.14314), by bitsandbytes, which rounds when the model moves to the GPU.
        lists: names of the lists of blocks in `model`.

    Raises:
        UserError: `kind` is none of these, or its library, or CUDA for `nf4`, is not there.
    """
    if kind not in KINDS:
        raise UserError(f"backbone.model.quantize={kind} is unknown: choose {', '.join(KINDS)} or null.")
    if kind == "nf4":
        _to_nf4(model, lists)
        return
    torchao = _library("torchao.quantization", kind)
    torchao.quantize_(
        model, getattr(torchao, TORCHAO[kind])(), filter_fn=lambda module, name: _is_in(module, name, lists)
    )


def _to_nf4(model: nn.Module, lists: Sequence[str]) -> None:
    library = _library("bitsandbytes", "nf4").nn
    if not torch.cuda.is_available():
        raise UserError("backbone.model.quantize=nf4 needs a CUDA GPU: choose int8 or fp8 here.")
    for name, layer in list(model.named_modules()):
        if _is_in(layer, name, lists):
            parent, _, own = name.rpartition(".")
            small = library.Linear4bit(
                layer.in_features,
                layer.out_features,
                bias=layer.bias is not None,
                compute_dtype=layer.weight.dtype,
                quant_type="nf4",
                device="meta",
            )
            small.weight = library.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
            small.bias = layer.bias
            setattr(model.get_submodule(parent), own, small)


def _is_in(layer: Any, name: str, lists: Sequence[str]) -> bool:
    return isinstance(layer, nn.Linear) and any(name.startswith(f"{each}.") for each in lists)


def _library(name: str, kind: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UserError(f"backbone.model.quantize={kind} needs {package}: pip install {package}.") from error
