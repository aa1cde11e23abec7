"""The base's own evaluation, made once for an experiment and used by all of its runs."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig

from dmp_lightning.commands.earlier import settings_of
from dmp_lightning.data.stream import DiffusionData
from dmp_lightning.files import DamagedError
from dmp_lightning.runs.identity import MEASURED, settings
from dmp_lightning.tensors import load_tensors, save_tensors
from dmp_lightning.training.module import DiffusionModule
from dmp_lightning.training.outcome import Evaluation, Outcome

log = logging.getLogger(__name__)


def measure_base(
    config: DictConfig,
    trainer: L.Trainer,
    control: DiffusionModule,
    data: DiffusionData,
    evaluation: Evaluation,
    resuming: bool,
) -> Outcome:
    """Validate the frozen base, or take what an earlier run of this experiment found, from `base_results`."""
    features = evaluation.generation.frechet.features.fingerprint
    path = Path(config.base_results) / f"{base_key(settings_of(config), control.base, features, data)}.safetensors"
    state = _read(path, len(data.validation), config.evaluation.samples)
    if state is None:
        trainer.validate(control, datamodule=data, verbose=False)
        if trainer.is_global_zero:
            save_tensors(evaluation.base_state(), path)
        return evaluation.outcome()
    outcome = evaluation.restore_base(state)
    log.info("Base already evaluated: %s", path)
    found = {"val/loss": outcome.loss, f"val/{evaluation.generation.frechet.name}": outcome.frechet}
    if not resuming and trainer.is_global_zero:
        # The very row that the validation would have logged: Lightning holds metrics in single precision.
        row = {name: torch.tensor(value, dtype=torch.float32).item() for name, value in found.items()}
        for logger in trainer.loggers:
            logger.log_metrics(row | {"epoch": 0}, step=0)
            logger.save()
    return outcome


def base_key(config: Mapping[str, Any], base: str | dict[str, Any], features: str, data: DiffusionData) -> str:
    """A hash of all that what is measured of a base depends on."""
    known = [
        settings(config, MEASURED),
        base,
        features,
        data.train.fingerprint,
        data.validation.fingerprint,
        torch.__version__,
        torch.cuda.is_available(),
    ]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _read(path: Path, held_out: int, samples: int) -> dict[str, torch.Tensor] | None:
    """The kept measurements, or None where there are none of all held-out samples and all generated ones."""
    try:
        state = load_tensors(path) if path.is_file() else None
    except DamagedError as error:
        log.warning("%s: evaluating the base again.", error)
        return None
    if state is not None and (len(state["losses"]), len(state["features"])) != (held_out, samples):
        log.warning("%s has another number of samples: evaluating the base again.", path)
        return None
    return state
