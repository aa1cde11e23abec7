"""Tables of a validation on W&B: samples before and after, gate maps, and the gain at each timestep."""

import lightning as L
import numpy as np
import wandb
from jaxtyping import Float, UInt8
from lightning.pytorch.loggers import WandbLogger
from matplotlib import colormaps
from torch import Tensor

from dmp_lightning.metrics.paired_loss import Interval
from dmp_lightning.training.hooks.evidence import gate_map
from dmp_lightning.training.hooks.frechet import Generation
from dmp_lightning.training.hooks.paired_loss import PairedValidation
from dmp_lightning.training.loggers import log_tables
from dmp_lightning.training.module import DiffusionModule

MAP_PIXELS = 128  # of a gate map's side, at least


class Tables(L.Callback):
    """Logs the tables of each validation of what is trained; dashboards show the last, from W&B's summary."""

    def __init__(self, generation: Generation, paired: PairedValidation) -> None:
        self.generation, self.paired = generation, paired

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DiffusionModule)
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        before, after, comparison = self.generation.before, self.generation.after, self.paired.comparison
        if not trainer.is_global_zero or not loggers or comparison is None or before is None or after is None:
            return
        tables = {
            "tables/samples": samples_table(before, after),
            "tables/gains": gains_table(comparison.by_stratum, pl_module.process.centres(pl_module.strata).tolist()),
        }
        gates = gate_map(pl_module)
        if gates is not None:
            tables["tables/gates"] = gates_table(gates.weights, gates.blocks)
        for logger in loggers:
            log_tables(logger, tables)


def samples_table(before: UInt8[Tensor, "n C H W"], after: UInt8[Tensor, "n C H W"]) -> wandb.Table:
    """A row for each noise: what base and patched model make of it."""
    pairs = zip(before.movedim(1, -1).numpy(), after.movedim(1, -1).numpy(), strict=True)
    rows = [[number, *(wandb.Image(image.squeeze()) for image in pair)] for number, pair in enumerate(pairs)]
    return wandb.Table(columns=["sample", "before", "after"], data=rows)


def gains_table(by_stratum: Interval, timesteps: list[float]) -> wandb.Table:
    """The loss minus the base's, with its interval, at `timesteps` in the middle of each stratum; lower is better."""
    values = [part.tolist() for part in by_stratum]
    rows = [list(row) for row in zip(timesteps, *values, strict=True)]
    return wandb.Table(columns=["timestep", "difference", "low", "high"], data=rows)


def gates_table(weights: Float[np.ndarray, "L S P"], blocks: list[int]) -> wandb.Table:
    """A row for each block: its map (timesteps from left to right, prompts from the top), all blocks on one scale.

    `usage_entropy` is the mixture's, the mean over timesteps: 1 where all prompts weigh the same, 0 where one does all.
    """
    low, high = float(weights.min()), float(weights.max())
    rows = []
    for block, plane in zip(blocks, weights, strict=True):
        shares = np.abs(plane) / np.abs(plane).sum(1, keepdims=True).clip(1e-12)
        entropy = -(shares * np.log(shares.clip(1e-12))).sum(1).mean() / np.log(max(2, plane.shape[1]))
        numbers = float(plane.min()), float(plane.max()), float(entropy)
        rows.append([block, wandb.Image(_heat_map(plane, low, high)), *numbers])
    return wandb.Table(columns=["block", "map", "lowest", "highest", "usage_entropy"], data=rows)


def _heat_map(plane: Float[np.ndarray, "S P"], low: float, high: float) -> UInt8[np.ndarray, "H W 3"]:
    # Weights that are all alike must look alike, not as rounding errors stretched over the whole scale.
    span = max(high - low, 0.01 * abs(high), 1e-12)
    colours = (255 * colormaps["viridis"]((plane.T - low) / span)[..., :3]).astype(np.uint8)
    zooms = [max(1, -(-MAP_PIXELS // side)) for side in colours.shape[:2]]
    return colours.repeat(zooms[0], axis=0).repeat(zooms[1], axis=1)
