"""What would stop a run half-way is found before it starts."""

import logging
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from dmp_lightning.data.stream import DiffusionData
from dmp_lightning.training.hooks.frechet import Generation
from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

NEEDED = 2  # samples at least, to know their spread


def preflight(
    config: DictConfig, module: DiffusionModule, data: DiffusionData, generation: Generation, checkpoint: Path | None
) -> None:
    """Make sure that training, sampling and comparing will be possible, and warn where it will prove nothing.

    Raises:
        UserError: of the first thing that will not.
    """
    for name, rate in config.recipe.learning_rates.items():
        if not 0 <= rate < float("inf"):
            raise UserError(f"recipe.learning_rates.{name}={rate} is no rate: choose zero or more.")
    for key in ("recipe.max_steps", "recipe.validate_every", "evaluation.batch_size", "evaluation.strata"):
        value = OmegaConf.select(config, key)
        if value < 1:
            raise UserError(f"{key}={value}: choose 1 or more.")
    if config.evaluation.samples < NEEDED:
        raise UserError(f"evaluation.samples={config.evaluation.samples}: a Fréchet distance needs {NEEDED} or more.")
    if len(data.validation) < NEEDED:
        raise UserError(
            f"The validation data hold {len(data.validation)} samples: a paired comparison needs {NEEDED} or more."
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
                    f"{checkpoint} was made with other {what} ({there} there, {here} here): resume with those, or "
                    "start a run of its own, without resume."
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
    if any(value.dtype == torch.bfloat16 for value in method.trained().values()):
        raise UserError(
            f"backbone.dtype=bfloat16 is for frozen weights, and {method.label} trains them, in steps too small: "
            "leave float32, with trainer.precision=bf16-mixed to compute in bfloat16."
        )
    if config.trainer.gradient_clip_val and config.recipe.optimizer.get("fused") and str(precision).endswith("-mixed"):
        raise UserError(
            f"trainer.gradient_clip_val does not go with a fused optimiser in {precision}: set "
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
            raise UserError(f"recipe.optimizer or recipe.lr_scheduler cannot be built so: {error}.") from error


def read_checkpoint(checkpoint: Path) -> dict:
    """What a checkpoint holds: tensors and plain values, mapped into memory.

    Raises:
        UserError: it is damaged, or holds more.
    """
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # what torch raises on damaged files is of many kinds
        raise UserError(
            f"The checkpoint {checkpoint} is damaged, or holds more than tensors and plain values: choose another."
        ) from error
