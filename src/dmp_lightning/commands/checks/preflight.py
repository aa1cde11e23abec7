"""Checks before a run starts, of all that would otherwise stop it half-way."""

import logging
from pathlib import Path

import torch
from omegaconf import DictConfig

from dmp_lightning.data.stream import DiffusionData
from dmp_lightning.training.hooks.frechet import Generation
from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

POOR = 1.5  # a loss: a model that always predicts zero has 1, or 1 more than the data's variance for a velocity
NEEDED = 2  # samples at least, to know their spread
FOLLOWING = {"max_steps": "max_steps", "val_check_interval": "validate_every"}
"""Options of the trainer that are those of the recipe."""


def preflight(
    config: DictConfig, module: DiffusionModule, data: DiffusionData, generation: Generation, checkpoint: Path | None
) -> None:
    """Make sure that training, sampling and comparing will be possible, and warn where it will prove nothing.

    Raises:
        UserError: of the first thing that will not.
    """
    if config.evaluation.samples < NEEDED:
        raise UserError(f"evaluation.samples={config.evaluation.samples}: a Fréchet distance needs {NEEDED} or more.")
    if len(data.validation) < NEEDED:
        raise UserError(
            f"The validation data have {len(data.validation)} samples: a paired comparison needs {NEEDED} or more."
        )
    check_numbers(config, module)
    check_optimiser(module)
    generation.check(module)
    counts = generation.counts(len(data.train))
    if counts.too_few:
        log.warning("%s", counts.warning)
    if checkpoint is not None:
        content = read_checkpoint(checkpoint)
        module.on_load_checkpoint(content)
        for what, here in fingerprints(data, generation).items():
            there = content.get("fingerprints", {}).get(what, here)
            if there != here:
                raise UserError(
                    f"{checkpoint} was made with other {what} (was {there}, now {here}): resume with those, or start a "
                    "new run without resume."
                )


def check_trainer(config: DictConfig) -> None:
    """Make sure that the trainer does what the recipe says, and on what it is to be done.

    Raises:
        UserError: an option says something else, or the accelerator is not there.
    """
    check_accelerator(config)
    for name, own in FOLLOWING.items():
        if config.trainer[name] != config.recipe[own]:
            raise UserError(f"trainer.{name}={config.trainer[name]}: set recipe.{own}, which it follows.")


def check_accelerator(config: DictConfig) -> None:
    """Make sure that this machine has the accelerator that is asked for.

    Raises:
        UserError: it has not.
    """
    wanted, cuda, mps = config.trainer.accelerator, torch.cuda.is_available(), torch.backends.mps.is_available()
    if not {"gpu": cuda or mps, "cuda": cuda, "mps": mps}.get(wanted, True):
        raise UserError(
            f"trainer.accelerator={wanted}: PyTorch finds none here. Choose trainer.accelerator=auto, or cpu."
        )


def fingerprints(data: DiffusionData, generation: Generation) -> dict[str, str]:
    """Of what a run reads and the config only names; the base's own is in each checkpoint as well."""
    return {
        "training data": data.train.fingerprint,
        "held-out data": data.validation.fingerprint,
        "features": generation.frechet.features.fingerprint,
    }


def check_numbers(config: DictConfig, module: DiffusionModule) -> None:
    """Make sure that the types of weights and computation go with the method and the optimiser.

    Raises:
        UserError: they do not.
    """
    method, precision = module.method, config.trainer.precision
    if config.backbone.model.get("quantize") and any(name.startswith("backbone.") for name in method.trained()):
        raise UserError(
            f"backbone.model.quantize={config.backbone.model.quantize} is for a frozen base, but {method.label} trains "
            "some of its weights: set it to null."
        )
    if any(value.dtype == torch.bfloat16 for value in method.trained().values()):
        raise UserError(
            f"backbone.dtype=bfloat16 is for frozen weights, but {method.label} trains them: keep float32, and set "
            "trainer.precision=bf16-mixed to compute in bfloat16."
        )
    if config.trainer.gradient_clip_val and config.recipe.optimizer.get("fused") and str(precision).endswith("-mixed"):
        raise UserError(
            f"trainer.gradient_clip_val does not work with a fused optimiser in {precision}: set "
            "recipe.optimizer.fused=null."
        )


def check_optimiser(module: DiffusionModule) -> None:
    """Make sure that the optimiser and its schedule take the arguments that they are given.

    Raises:
        UserError: they do not.
    """
    if module.method.trained():
        try:
            module.configure_optimizers()
        except (TypeError, ValueError, RuntimeError) as error:  # each of them has its own way to refuse
            raise UserError(f"recipe.optimizer or recipe.lr_scheduler cannot be built: {error}.") from error


def check_loss(config: DictConfig, loss: float) -> None:
    """Warn of a base whose validation loss says that it models other data, or another process, than configured.

    What the tensors of a velocity do not tell, such as its direction, shows here.
    """
    if config.backbone.weights is not None and loss > POOR:
        log.warning(
            "The base's validation loss is %.3g, and a trained base is below 1: check that diffusion, "
            "backbone.model.predicts and the data are those of its training.",
            loss,
        )


def read_checkpoint(checkpoint: Path) -> dict:
    """The content of a checkpoint: tensors and plain values, mapped into memory.

    Raises:
        UserError: it is damaged, or holds more.
    """
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # what torch raises on damaged files is of many kinds
        raise UserError(
            f"The checkpoint {checkpoint} is damaged, or holds more than tensors and plain values: choose another."
        ) from error
