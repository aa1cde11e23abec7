"""Memory, operations and time of a training, by arithmetic on its shapes, without doing it."""

import torch
from omegaconf import DictConfig
from torch import nn

from dmp_lightning.backbones import Adapter, Backbone
from dmp_lightning.backbones.calls import patch_side
from dmp_lightning.commands.build import build_backbone, build_method
from dmp_lightning.commands.counting import Counted, count, nbytes
from dmp_lightning.commands.trust.trusted import build
from dmp_lightning.methods import Method
from dmp_lightning.patching.agreement import check_agreement

PEAK, SHARE = 989.4e12, 0.17
"""Operations a second of an H100 (SXM) in dense bf16, by its data sheet, and the share that eager steps reached."""
GIB = 2**30
OF_TRAINED = 4 + 4 + 8
"""Bytes of a parameter in float32, its gradient, and AdamW's moments."""
QUANTISED = {"int8": 1.0, "fp8": 1.0, "nf4": 0.5}
"""Bytes of a weight."""


def say_cost(config: DictConfig) -> None:
    """Print what the run of the config would take.

    Raises:
        UserError: the parts of the config do not go together.
    """
    process, bare = build(config.diffusion), without_weights(config)
    with torch.device("meta"):
        backbone = build_backbone(bare)
        check_agreement(backbone, process)
        parameters = sum(each.numel() for each in backbone.parameters())
        method = build_method(bare, backbone)
    for name, value in told(config, method, parameters, count(method, process)):
        print(f"{name:<26} {value}")


def without_weights(config: DictConfig) -> DictConfig:
    """The config of the same model with random weights as they come, and nothing computed twice."""
    found = config.copy()
    found.backbone.weights, found.activation_checkpointing = None, False
    if is_halved(config):
        found.backbone.dtype = "float32"
    if "quantize" in found.backbone.model:
        found.backbone.model.quantize = None
    return found


def told(config: DictConfig, method: Method, parameters: int, counted: Counted) -> list[tuple[str, str]]:
    """The cost of a run on a base of so many parameters, line by line."""
    recipe, backbone = config.recipe, method.backbone
    trained = sum(each.numel() for each in method.trained().values())
    frozen = frozen_bytes(config, method)
    fixed = frozen + (OF_TRAINED + (4 if recipe.ema_decay else 0)) * trained
    batch = recipe.batch_size // config.trainer.get("accumulate_grad_batches", 1)
    of_one = [counted.kept, counted.checkpointed] if counted.checkpointed else [counted.kept]
    half = 2 if config.trainer.precision == "bf16-mixed" or is_halved(config) else 1
    kept = [batch * each / half for each in of_one]
    operations = counted.operations + (counted.forward if config.activation_checkpointing else 0)
    images = SHARE * PEAK / operations
    hours = recipe.batch_size * recipe.max_steps / images / 3600
    return [
        ("base", f"{parameters:,} parameters, {backbone.depth} blocks, {tokens(backbone):,} tokens"),
        (method.label, f"{method.size:,} parameters, {method.size / parameters:.2%} of the base"),
        ("weights and optimiser", f"{fixed / GIB:,.1f} GiB, of which frozen {frozen / GIB:,.1f}"),
        (f"activations of {batch}", gib(kept)),
        ("memory", gib([fixed + each for each in kept])),
        ("operations", f"{operations / 1e9:,.1f} GFLOP a sample, and {counted.forward / 1e9:,.1f} of a forward pass"),
        (f"H100 at {SHARE:.0%} of its peak", f"{images:,.2f} images/s"),
        (f"{recipe.max_steps:,} steps of {recipe.batch_size}", f"{hours:,.1f} hours"),
    ]


def gib(found: list[float]) -> str:
    """Bytes in GiB, and those with activation checkpointing, where there is any."""
    whole, *fewer = (f"{each / GIB:,.1f}" for each in found)
    return f"{whole} GiB" + "".join(f", with activation checkpointing {each}" for each in fewer)


def is_halved(config: DictConfig) -> bool:
    """Whether a DiT of ours is to be in bfloat16; it is counted in float32, as `meta` knows no autocast."""
    return "path" not in config.backbone and config.backbone.dtype == "bfloat16"


def frozen_bytes(config: DictConfig, method: Method) -> float:
    """Of the weights that are not trained, where those of the blocks' linear layers may be quantised."""
    backbone, kind = method.backbone, config.backbone.model.get("quantize")
    frozen = sum(nbytes(each) for each in method.parameters() if not each.requires_grad) / (1 + is_halved(config))
    if kind is None or not isinstance(backbone, Adapter):
        return frozen
    layers = [each for _, block in backbone.sites for each in block.modules() if isinstance(each, nn.Linear)]
    return frozen - sum(nbytes(each.weight) - QUANTISED[kind] * each.weight.numel() for each in layers)


def tokens(backbone: Backbone) -> int:
    """The tokens of a picture, or of a frame, where the first blocks take them."""
    if not isinstance(backbone, Adapter) or backbone.call is None:
        return backbone.tokens
    _, rows, columns = backbone.sample_shape
    return rows * columns // patch_side(backbone.call, backbone.model.config) ** 2
