"""The config of the scheduler in a pipeline's folder, which says how noise was added in the model's training."""

import json
from math import exp
from pathlib import Path
from typing import Any

SCHEDULER = "scheduler/scheduler_config.json"
OF_BETAS = {
    "start": "beta_start",
    "end": "beta_end",
    "snr_shift": "snr_shift_scale",
    "zero_terminal": "rescale_betas_zero_snr",
}
"""Keys of such a config, by the arguments of `diffusion.schedule.scaled_linear_betas`."""


def read_scheduler(folder: Path) -> dict[str, Any]:
    """The config of the scheduler beside the denoiser in `folder`; empty where there is none."""
    try:
        found = json.loads((folder.parent / SCHEDULER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def shift_of(scheduler: dict[str, Any], tokens: int) -> float:
    """The shift of the times of a flow, as `diffusion.flow.Flow` takes it, for pictures of that many tokens.

    Where it grows with the picture, as in Flux and Qwen-Image, its logarithm is linear in the number of tokens.
    """
    if not scheduler.get("use_dynamic_shifting"):
        return float(scheduler.get("flow_shift" if scheduler.get("use_flow_sigmas") else "shift", 1.0))
    fewest, most = scheduler.get("base_image_seq_len", 256), scheduler.get("max_image_seq_len", 4096)
    low, high = scheduler.get("base_shift", 0.5), scheduler.get("max_shift", 1.15)
    return exp(low + (high - low) * (tokens - fewest) / (most - fewest))
