"""Building what a run works with from its config: data, features, the base and the method."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf

from dmp_lightning.backbones import Adapter, Backbone, check_prediction, in_dtype, load_weights
from dmp_lightning.commands.trust.trusted import build
from dmp_lightning.data.source import KnowsConditions, Source
from dmp_lightning.data.stream import DiffusionData
from dmp_lightning.methods import Method
from dmp_lightning.metrics.features import Features, Pixels
from dmp_lightning.patching.defaults import grid_of
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)


SMALL = 1_000
"""Pixels of a picture whose distances can be told from few samples, roughly at least, as in a dry run."""


def build_parts(config: DictConfig) -> tuple[DiffusionData, Features, Backbone]:
    """Data, features and the base with its weights; tells all that is missing at once, before any work.

    Raises:
        MissingFileError: one sentence for each file that has to be prepared.
        UserError: data and base do not go together.
    """
    data, features, base = build_together(
        lambda: build(config.data), lambda: build(config.features), lambda: build_backbone(config)
    )
    check_fit(data.train, base)
    check_features(features, config.evaluation.samples)
    return data, features, base


def build_together(*builders: Callable[[], Any]) -> list[Any]:
    """The results of the builders. If files are missing, one error names all of them.

    Raises:
        MissingFileError: one sentence for each file that has to be prepared.
    """
    built, missing = [], []
    for builder in builders:
        try:
            built.append(builder())
        except Exception as error:
            cause = error.__cause__ if isinstance(error.__cause__, MissingFileError) else error
            if not isinstance(cause, MissingFileError):
                raise
            missing.append(str(cause))
    if missing:
        raise MissingFileError("\n       ".join(dict.fromkeys(missing)))  # features may need the same data
    return built


def build_backbone(config: DictConfig) -> Backbone:
    """The base with its weights, or random ones, in the type of the config.

    Raises:
        MissingFileError: there is no such weights file.
        UserError: the weights do not fit, or the type is unknown.
    """
    settings = config.backbone
    if "path" in settings:
        return _build_adapter(config)
    if settings.weights is None and OmegaConf.is_interpolation(settings.model, "width"):
        raise UserError("backbone=from_file reads the sizes from the weights: set backbone.weights to their file.")
    L.seed_everything(config.seed, verbose=False)
    model = in_dtype(settings.dtype, lambda: build(settings.model))
    given = OmegaConf.to_container(settings, resolve=True)
    assert isinstance(given, dict)
    if settings.weights is None:
        return model
    model = load_weights(model, given["weights"], given["part"], given["labels"], given["predicts"])
    check_prediction(model, given["weights"])
    if OmegaConf.is_interpolation(settings.model, "width"):
        sizes = ", ".join(f"{name}={value}" for name, value in given["model"].items() if name != "_target_")
        log.info("Sizes read from the base's file (heads and class_dropout_prob may be guesses): %s", sizes)
    return model


def _build_adapter(config: DictConfig) -> Adapter:
    settings = config.backbone
    if settings.path is None:
        raise UserError("backbone=diffusers needs backbone.path: the folder of a model of diffusers, or a repository.")
    L.seed_everything(config.seed, verbose=False)
    weights = True if settings.weights == settings.path else settings.weights or False
    given = {"dtype": settings.dtype, "predicts": settings.predicts, "weights": weights}
    return build(settings.model, path=settings.path, **given)


def check_features(features: Features, samples: int) -> None:
    """Make sure that a covariance of the pixels says something, and fits into memory.

    Raises:
        UserError: the pictures have too many pixels.
    """
    if isinstance(features, Pixels) and features.num_features > max(samples, SMALL):
        raise UserError(
            f"features=pixels has {features.num_features:,} features, too many for the covariance of {samples:,} "
            "samples: choose features=own_pictures, or features=inception."
        )


def set_matmul_precision(config: DictConfig) -> None:
    """Let CUDA multiply matrices of float32 as exactly as the config says; a CPU multiplies them exactly."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision(config.matmul_precision)


def build_method(config: DictConfig, backbone: Backbone) -> Method:
    """The method of the config on the base."""
    method = build(method_on(config, backbone))(backbone=backbone)
    method.backbone.activation_checkpointing = config.activation_checkpointing
    return method


def method_on(config: DictConfig, backbone: Backbone) -> DictConfig:
    """The description of the method; on a model of diffusers with the grid of its prompts, where it has any."""
    settings = config.method.copy()
    settings._set_parent(config)
    if isinstance(backbone, Adapter) and "grid" in settings:
        settings.grid = grid_of(backbone, settings.grid)
    return settings


def check_fit(source: Source, backbone: Backbone) -> None:
    """Make sure that the data are what the base models; a model of diffusers takes the conditions to sample from them.

    Raises:
        UserError: samples of another shape; more classes than the base knows, or fewer that are not its first ones; a
            VAE that is not the data's.
    """
    if tuple(source.sample_shape) != backbone.sample_shape:
        raise UserError(
            f"The data have shape {tuple(source.sample_shape)}, but the base expects {backbone.sample_shape}: "
            "choose a backbone for these data, or set backbone.model.input_size and in_channels."
        )
    if isinstance(backbone, Adapter):
        backbone.check_condition(source.read([0]).condition)
        if isinstance(source, KnowsConditions):
            backbone.sampled, backbone.null = source.conditions, source.null
    if hasattr(source, "num_classes"):  # its conditions are labels, which may have names
        _check_classes(source.num_classes, getattr(source, "classes", None), backbone.num_classes)
    source.decode(torch.zeros(1, *source.sample_shape))  # another VAE would be noticed after the first samples only


def _check_classes(count: int, names: Sequence[str] | None, known: int) -> None:
    """Compare the data's classes, which have names where they are folders, with those that the base knows."""
    if count == known:
        return
    if known == 1:
        log.info("The data have %s classes, but the base has one: labels are not used.", f"{count:,}")
    elif count > known:
        raise UserError(f"The data have {count} classes, but the base has {known}: set backbone.model.num_classes.")
    elif count > 1 and names is None:
        log.warning(
            "The data's labels 0 to %s are used as the first of the base's %s classes.", count - 1, f"{known:,}"
        )
    else:
        named = f", {' to '.join(dict.fromkeys((names[0], names[-1])))}" if names else ""
        which = f"{f'{count} classes' if count > 1 else 'one class'}{named}"
        raise UserError(
            f"The data have {which}, but the base has {known}: set backbone.model.num_classes={count}, and "
            "backbone.labels=reinit for new label embeddings."
        )
