"""Latents that fast-DiT or LightningDiT extracted, to be kept as a store of ours."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from dmp_lightning.data.encode.shards import Item, Work
from dmp_lightning.data.latents.foreign import is_fast_dit, open_fast_dit, open_lightningdit
from dmp_lightning.data.latents.manifest import Plan, images_of_a_shard
from dmp_lightning.data.latents.store import Store
from dmp_lightning.data.latents.vae import downsampling, load_vae, scaling

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawn(Dataset):
    """Latents of a store with their mirrors, in half precision; of an unreadable one, what is wrong with it."""

    store: Store
    names: Sequence[str]

    def __getitem__(self, index: int) -> Item | str:
        mirrors = np.arange(self.store.mirrors)
        try:
            latents = self.store.gather(np.full_like(mirrors, index), mirrors).half()
        except ValueError as error:
            return f"{self.names[index]} cannot be read ({error})"
        return Item(latents) if latents.isfinite().all() else f"{self.names[index]} is too large for half precision"


def prepare_latents(source: Path, vae: str, labels: str, resolution: int | None, shard_mb: int) -> Work:
    """The latents in `source`, to be kept with the numbers that they have; arguments and errors as of `encode`.

    They are rounded to half precision, by 1 part in 2,048 at most. What was drawn stays drawn: there is no standard
    deviation, and no mirror unless it was extracted. From which weights they are is not known.
    """
    if labels == "folders" or resolution is not None:
        raise ValueError(f"{source} holds latents with labels, of one resolution: leave labels and resolution alone.")
    model = load_vae(vae, download=True)
    store = (open_fast_dit if is_fast_dit(source) else open_lightningdit)(source, scaling(model.config), damaged=True)
    numbers = np.zeros(len(store), np.int64) if labels == "none" else store.labels.numpy()
    names = [f"latent {index} of {source}" for index in range(len(store))]
    moments, channels, height, width = store.shape
    shape = channels, height, width
    plan = Plan(
        shape=shape,
        scale=_plain(store.scale),
        shift=_plain(store.shift),
        vae=vae,
        vae_sha256=None,
        resolution=width * downsampling(model),
        crop="not known",
        source=store.digest,
        images=len(store),
        shard_images=images_of_a_shard(shard_mb, store.mirrors * moments, shape),
        num_classes=int(numbers.max()) + 1,
        classes=None,
        held_out=None,
        mirrors=store.mirrors,
        moments=moments,
        scaled=store.scaled,
    )
    log.info("%s latents, %s classes.", f"{plan.images:,}", f"{plan.num_classes:,}")
    return Work(plan, Drawn(store, names), names, numbers, lambda latents: latents)


def _plain(value: float | Tensor) -> float | tuple[float, ...]:
    return tuple(value.flatten().tolist()) if isinstance(value, Tensor) else value
