"""Generated samples and their Fréchet distance as a validation hook."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import lightning as L
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from dmp_lightning.data.pixels import all_images, to_uint8
from dmp_lightning.diffusion.sampler import Sampler
from dmp_lightning.intervals import Change, change_of
from dmp_lightning.metrics.drawn import Drawing
from dmp_lightning.metrics.features import Features
from dmp_lightning.metrics.frechet import FrechetDistance
from dmp_lightning.metrics.jackknife import frechet_change
from dmp_lightning.metrics.moments import Counts
from dmp_lightning.training.collect import gather_in_order
from dmp_lightning.training.module import DiffusionModule


class Generation(L.Callback):
    """Generates samples 0..N-1 from the same noise at each validation and measures their Fréchet distance.

    The first validation is the base's, later ones are compared with it: `change` says by how much the distance
    changed. `before` and `after` hold the first few images of the base and of the latest validation, `base_features`
    (N, F) the features of all of the base's.

    Args:
        features, sampler: what is looked at, and how samples are made.
        samples, batch_size, shown, guidance: see `conf/evaluation`.
        seed: of the noise.
    """

    def __init__(
        self,
        features: Features,
        sampler: Sampler,
        *,
        samples: int,
        batch_size: int,
        shown: int,
        guidance: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.frechet, self.sampler = FrechetDistance(features), sampler
        self.samples, self.batch_size, self.shown = samples, batch_size, shown
        self.guidance, self.seed = dict(guidance), seed
        self.distance = float("nan")
        self.before: UInt8[Tensor, "n C H W"] | None = None
        self.after: UInt8[Tensor, "n C H W"] | None = None
        self.change: Change | None = None
        self.base_features: Float[Tensor, "N F"] | None = None
        self._has_reference = False

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DiffusionModule)
        self._prepare_reference(trainer, pl_module)
        features, self.after = self._generate(trainer, pl_module)
        self.distance = self.frechet.compute()
        pl_module.log(f"val/{self.frechet.name}", self.distance)
        if self.base_features is None:
            self.base_features, self.before = features, self.after
            return
        self.change = frechet_change(self.frechet.compared_with, self.base_features, features)
        for name in ("mean", "low", "high"):
            pl_module.log(f"val/{self.frechet.name}_change_{name}", getattr(self.change.interval, name))

    def counts(self, reference_images: int) -> Counts:
        """How many images and features the distance is of."""
        return Counts(self.samples, reference_images, self.frechet.features.num_features)

    def check(self, module: DiffusionModule) -> None:
        """Make sure that this model can be sampled so, before any work.

        Raises:
            UserError: the sampler does not fit the process, or the guidance the model.
        """
        Drawing(module.process, self.sampler, self.guidance, self.batch_size).check(module.method)

    def state_dict(self) -> dict[str, Any]:
        return {"distance": self.distance, "change": self.change and self.change.plain()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.distance, change = state_dict["distance"], state_dict["change"]
        self.change = change_of(change) if change else None

    def _prepare_reference(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._has_reference:
            return
        source = trainer.datamodule.train  # type: ignore[attr-defined]
        images = (batch.to(pl_module.device) for batch in all_images(source, self.batch_size))
        self.frechet.to(pl_module.device).reference(images, source.fingerprint, source.cache)
        self._has_reference = True

    def _generate(self, trainer: L.Trainer, pl_module: DiffusionModule) -> tuple[Tensor, Tensor]:
        """Features of all samples in order, and the first few images."""
        method, source = pl_module.method, trainer.datamodule.train  # type: ignore[attr-defined]
        drawing = Drawing(pl_module.process, self.sampler, self.guidance, self.batch_size, source.decode)
        world = trainer.world_size
        # As many for each process, some beyond the last if need be: sharded weights are gathered by all at once.
        mine = range(trainer.global_rank, world * ceil(self.samples / world), world)
        batches = drawing.draw(method, method.backbone.conditions(), mine, self.seed)
        self.frechet.reset()
        numbers, features, shown = [], [], []
        bar = tqdm(total=len(mine), desc="Generating", unit="sample", leave=False, disable=trainer.global_rank > 0)
        for indices, samples in batches:
            wanted = [index for index in indices if index < self.samples]
            images = to_uint8(samples[: len(wanted)])
            numbers += wanted
            features.append(self.frechet.update(images).cpu())
            shown.append(images[: max(0, sum(n < self.shown for n in wanted))].cpu())
            bar.update(len(wanted))
        bar.close()
        positions = torch.tensor(numbers)
        few = torch.cat(shown)
        pictures = gather_in_order(trainer, positions[positions < self.shown], few)
        return gather_in_order(trainer, positions, torch.cat(features)), pictures
