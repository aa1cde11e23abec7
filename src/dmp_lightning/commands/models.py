"""A base and its patch, built from the config for the commands that draw samples of them."""

from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig

from dmp_lightning.backbones import Backbone
from dmp_lightning.commands.build import build_backbone, build_together, check_fit, set_matmul_precision
from dmp_lightning.commands.checks.preflight import check_accelerator
from dmp_lightning.commands.trust.trusted import build
from dmp_lightning.condition import Condition
from dmp_lightning.data.source import Source
from dmp_lightning.methods import Frozen, Method, read_patch
from dmp_lightning.metrics.drawn import Drawing
from dmp_lightning.patching.agreement import check_agreement
from dmp_lightning.patching.parse import from_file
from dmp_lightning.user_error import UserError

AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16}


class Sampling(NamedTuple):
    """`models`, by name, the base first, and what they have in common."""

    models: dict[str, Method]
    drawing: Drawing
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
        raise UserError(f"strength={config.strength} needs a patch: set patch=FILE or run=FOLDER.")
    source, backbone, held = build_together(
        lambda: build(config.data.train),
        lambda: build_backbone(config),
        lambda: patch and read_patch(patch),
    )
    check_fit(source, backbone)
    set_matmul_precision(config)
    device = torch.device("cuda" if config.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    models: dict[str, Method] = {"base": Frozen(backbone)}
    if patch is not None:
        models["patched"] = from_file(backbone, patch, held, float(config.strength))
    for model in models.values():
        model.to(device).eval().requires_grad_(False)
    process = build(config.diffusion)
    check_agreement(backbone, process)
    drawing = Drawing(
        process,
        build(config.sampler),
        dict(config.evaluation.guidance),
        config.evaluation.batch_size,
        source.decode,
        AUTOCAST[config.trainer.precision],
    )
    drawing.check(models["base"])
    return Sampling(models, drawing, source, _conditions(config, backbone), device)


def _conditions(config: DictConfig, backbone: Backbone) -> Condition:
    known = backbone.conditions()
    if config.classes is None:
        return known
    beyond = [label for label in config.classes if not 0 <= label < known.rows]
    if beyond:
        raise UserError(f"classes={list(config.classes)}: name labels from 0 to {known.rows - 1}.")
    return known.take(config.classes)
