"""Pictures of a validation (samples, gate maps, loss difference by timestep), and the numbers that they show."""

from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from jaxtyping import Float, Num
from lightning.pytorch.loggers import WandbLogger

from dmp_lightning.data.source import captions_of
from dmp_lightning.methods import DMP
from dmp_lightning.runs.folder import EVIDENCE
from dmp_lightning.tensors import save_tensors
from dmp_lightning.training.hooks.frechet import Generation
from dmp_lightning.training.hooks.paired_loss import PairedValidation
from dmp_lightning.training.module import DiffusionModule

SHOWN_TIMESTEPS = 100


class Pictures(L.Callback):
    """Draws the latest validation into `run_dir/figures`, over the pictures of the one before, and logs them to W&B.

    What they show is kept in `run_dir/evidence.safetensors` for reports: `samples_before`, `samples_after` (N, H, W)
    or (N, 3, H, W), uint8; of a gate `gate_weights` (L, S, P), `gate_timesteps` (S,), `gate_blocks` (L,), and
    `prompt_norms` (L, P), each prompt's Euclidean norm; and, where prompts have a place on the picture, `prompt_grid`
    (2,), rows and columns of these places. Of texts also `captions`, bytes of UTF-8, a line each. `figures` is the
    module `reports.figures`, which this room does not know.
    """

    def __init__(self, run_dir: Path, generation: Generation, paired: PairedValidation, figures: ModuleType) -> None:
        self.run_dir, self.generation, self.paired, self.figures = run_dir, generation, paired, figures

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DiffusionModule)
        if not trainer.is_global_zero or self.generation.before is None or self.generation.after is None:
            return
        before, after = (images.squeeze(1).numpy() for images in (self.generation.before, self.generation.after))
        folder = self.run_dir / "figures"
        captions = captions_of(trainer.datamodule.train, len(after))  # type: ignore[attr-defined]
        drawn = {"samples": self.figures.samples_figure(before, after, folder / "samples.png", captions)}
        evidence = {"samples_before": before, "samples_after": after}
        if captions:
            evidence["captions"] = np.frombuffer("\n".join(captions).encode(), np.uint8)
        gates = gate_map(pl_module)
        if gates is not None:
            drawn["gates"] = self.figures.gates_figure(
                gates.weights, gates.timesteps, gates.blocks, folder / "gates.png"
            )
            evidence |= {"gate_weights": gates.weights, "gate_timesteps": gates.timesteps}
            evidence |= {"gate_blocks": np.array(gates.blocks), "prompt_norms": gates.norms}
            if gates.cells is not None:
                evidence["prompt_grid"] = np.array(gates.cells)
        # Copied: of the base, samples before and after are the same memory, which safetensors refuses.
        tensors = {name: torch.from_numpy(value.copy()) for name, value in evidence.items()}
        save_tensors(tensors, self.run_dir / EVIDENCE)
        if self.paired.comparison is not None:
            interval = self.paired.comparison.by_stratum
            centres = pl_module.process.centres(pl_module.strata).numpy()
            lines = np.array(interval).T
            path = folder / "loss_difference.png"
            drawn["loss_difference"] = self.figures.loss_difference_figure(centres, *lines, path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                for name, path in drawn.items():
                    logger.log_image(f"val/{name}", [str(path)])


class GateMap(NamedTuple):
    """A patch's gate `weights` at `timesteps`, under the first condition, and its prompts' `norms` by `blocks`.

    `cells`: rows and columns of the prompts on the picture.
    """

    weights: Float[np.ndarray, "L S P"]
    timesteps: Num[np.ndarray, " S"]
    blocks: list[int]
    norms: Float[np.ndarray, "L P"]
    cells: tuple[int, int] | None


def gate_map(module: DiffusionModule) -> GateMap | None:
    """The weights of the gate at evenly spread timesteps; None where the method has no gate."""
    method = module.method
    if not isinstance(method, DMP):
        return None
    timesteps = module.process.spread(SHOWN_TIMESTEPS)
    t = timesteps.to(module.device)
    condition = method.backbone.conditions().take([0] * len(t)).to(module.device)
    gates = method.gates(t, condition)
    if gates is None:
        return None
    weights = gates.weights.expand(-1, len(t), -1).float().cpu().numpy()
    mixture = method.mixture
    return GateMap(weights, timesteps.numpy(), mixture.blocks, mixture.norms().cpu().numpy(), mixture.cells)
