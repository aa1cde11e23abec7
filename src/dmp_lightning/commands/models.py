"""What drawing samples of a base and of its patch takes, for the commands that do so."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from dmp_lightning.backbones import Backbone
from dmp_lightning.commands.build import build_backbone, build_together, check_fit, set_matmul_precision
from dmp_lightning.commands.checks.trainer_options import check_accelerator
from dmp_lightning.commands.trust.trusted import build
from dmp_lightning.condition import Condition
from dmp_lightning.data.source import Source
from dmp_lightning.diffusion.guidance import Model, guide
from dmp_lightning.diffusion.process import Process
from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.methods import Frozen, Method, read_patch
from dmp_lightning.metrics.drawn import Samples, generate
from dmp_lightning.patching.parse import patched
from dmp_lightning.user_error import UserError

AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16}


class Sampling(NamedTuple):
    """`models`, by name, the base first, and what they have in common."""

    models: dict[str, Method]
    process: Process
    sampler: Sampler
    source: Source
    conditions: Condition
    device: torch.device


def build_sampling(config: DictConfig) -> Sampling:
    """The base, and its patch where the config names one, ready to be sampled; finds mistakes before any work.

    Raises:
        MissingFileError: one sentence for each file that has to be prepared.
        UserError: the parts do not go together.
    """
    check_accelerator(config)
    patch = None if config.patch is None else Path(config.patch)
    if patch is None and config.strength != 1:
        raise UserError(f"strength={config.strength} is a patch's: set patch to the file of one.")
    source, backbone, _ = build_together(
        lambda: build(config.data.train),
        lambda: build_backbone(config),
        lambda: patch and read_patch(patch),
    )
    check_fit(source, backbone)
    set_matmul_precision(config)
    device = torch.device("cuda" if config.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    models: dict[str, Method] = {"base": Frozen(backbone)}
    if patch is not None:
        models["patched"] = patched(backbone, patch, float(config.strength))
    for model in models.values():
        model.to(device).eval().requires_grad_(False)
    sampling = Sampling(
        models, build(config.diffusion), build(config.sampler), source, _conditions(config, backbone), device
    )
    sampling.sampler.prepare(sampling.process)
    guided(config, sampling, "base")
    return sampling


def guided(config: DictConfig, sampling: Sampling, name: str) -> Model:
    """`model(x, t, condition)` of one of the models, guided and at the precision that the config says.

    Raises:
        UserError: the guidance does not fit the model, or there is no such precision.
    """
    precision, method = config.trainer.precision, sampling.models[name]
    if precision not in AUTOCAST:
        raise UserError(f"trainer.precision={precision} is none to sample with: choose {' or '.join(AUTOCAST)}.")
    dtype = AUTOCAST[precision]
    cast = partial(torch.autocast, sampling.device.type, dtype=dtype, enabled=dtype is not None)

    def model(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with cast():
            return method(x, t, condition).output.to(x.dtype)

    return guide(model, method.backbone.null_condition(), sampling.process, **config.evaluation.guidance)


def _conditions(config: DictConfig, backbone: Backbone) -> Condition:
    if config.classes is None:
        return backbone.conditions()
    beyond = [label for label in config.classes if not 0 <= label < backbone.num_classes]
    if beyond or not config.classes:
        raise UserError(f"classes={list(config.classes)}: name labels from 0 to {backbone.num_classes - 1}.")
    return backbone.conditions().take(config.classes)


def draw(
    config: DictConfig, sampling: Sampling, name: str, numbers: Sequence[int], seed: int
) -> Iterator[tuple[list[int], Samples]]:
    """Batches of these samples of one of the models, each with its numbers: images in [-1, 1]."""
    return generate(
        guided(config, sampling, name),
        sampling.sampler,
        sampling.process,
        sampling.models[name].backbone.sample_shape,
        sampling.conditions,
        numbers,
        seed,
        config.evaluation.batch_size,
        sampling.device,
        sampling.source.decode,
    )
