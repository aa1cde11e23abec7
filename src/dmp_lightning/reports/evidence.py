"""Samples and gates that a run left for reports in `evidence.safetensors`; the file may be anybody's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from dmp_lightning.runs.record_shape import LARGEST
from dmp_lightning.tensors import check_tensors
from dmp_lightning.user_error import UserError

SAMPLES, GATES = ("samples_before", "samples_after"), ("gate_weights", "gate_timesteps", "gate_blocks", "prompt_norms")
GRID, CAPTIONS = "prompt_grid", "captions"
MOST = 1 << 28  # numbers in one tensor
LATEST = 2**31  # timestep or block


def read_evidence(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name: `samples_before` and `samples_after`, bytes (N, H, W) or (N, 3, H, W).

    Of texts also `captions`, bytes, which `captions_of` reads.
    Where the method has a gate, too: `gate_weights` (L, S, P), `gate_timesteps` (S) in order, `gate_blocks` (L) and
    `prompt_norms` (L, P), finite, with S at least 2; and `prompt_grid` (2), the rows and columns of the places that the
    prompts have on the picture, where they have such.

    Raises:
        UserError: the file is damaged, or one of them has another shape, type or value.
    """
    try:
        if not path.is_file():
            raise UserError("it is not a file")
        check_tensors(path)
        with safe_open(path, "numpy") as file:
            names = set(file.keys())
            wanted = [name for name in (*SAMPLES, *GATES, GRID, CAPTIONS) if name in names]
            for name in wanted:
                if np.prod(file.get_slice(name).get_shape(), dtype=float) > MOST:
                    raise UserError(f"{name} is too large")
            found = {name: file.get_tensor(name) for name in wanted}
        _check_samples(found)
        if names & set(GATES):
            _check_gates(found)
    except (ValueError, SafetensorError, OSError, TypeError, AttributeError) as error:  # the latter two for bfloat16
        raise UserError(f"{path} is damaged ({error}): its samples and gates are left out.") from error
    return found


def captions_of(found: Mapping[str, np.ndarray]) -> list[str]:
    """The caption of each sample, where the samples are of texts."""
    return found[CAPTIONS].tobytes().decode().split("\n") if CAPTIONS in found else []


def _check_samples(found: dict[str, np.ndarray]) -> None:
    for name in SAMPLES:
        images = _known(found, name)
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
            raise UserError(f"{name} is not a set of pictures: {images.dtype} of shape {images.shape}")
        if images.ndim == 4 and images.shape[1] != 3:
            raise UserError(f"{name} has {images.shape[1]} colours")
    before, after = (found[name].shape for name in SAMPLES)
    if before != after:
        raise UserError(f"samples before have shape {before}, but after {after}")
    if CAPTIONS in found and (found[CAPTIONS].dtype != np.uint8 or len(captions_of(found)) != before[0]):
        raise UserError(f"captions are not those of {before[0]} samples")


def _check_gates(found: dict[str, np.ndarray]) -> None:
    weights, timesteps, blocks, norms = (_known(found, name) for name in GATES)
    if weights.ndim != 3 or weights.shape[1] < 2 or not weights.size:
        raise UserError(f"gate_weights has shape {weights.shape}")
    count, steps, prompts = weights.shape
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "gate_weights": (np.floating, (count, steps, prompts)),
        "gate_timesteps": (np.number, (steps,)),
        "gate_blocks": (np.integer, (count,)),
        "prompt_norms": (np.floating, (count, prompts)),
    }
    for name, (kind, shape) in expected.items():
        if found[name].shape != shape or not np.issubdtype(found[name].dtype, kind):
            raise UserError(f"{name} is {found[name].dtype} of shape {found[name].shape}, not {shape}")
    if not all(np.isfinite(values).all() and (abs(values) < LARGEST).all() for values in (weights, norms)):
        raise UserError("gate_weights or prompt_norms contains NaN, infinity or a huge number")
    if not (np.diff(timesteps.astype(float)) >= 0).all():
        raise UserError("gate_timesteps are not in order")
    if any((values < 0).any() or (values > LATEST).any() for values in (timesteps, blocks)):
        raise UserError("gate_timesteps or gate_blocks contains invalid timesteps or blocks")
    if GRID in found and not _shares(found[GRID], prompts):
        raise UserError(f"prompt_grid does not hold {prompts} prompts")


def _shares(grid: np.ndarray, prompts: int) -> bool:
    if grid.shape != (2,) or not np.issubdtype(grid.dtype, np.integer) or not ((grid > 0) & (grid <= prompts)).all():
        return False
    return prompts % (int(grid[0]) * int(grid[1])) == 0


def _known(found: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in found:
        raise UserError(f"{name} is missing")
    return found[name]
