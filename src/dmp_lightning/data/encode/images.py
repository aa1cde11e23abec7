"""Images to encode: how they are read, labelled, and turned into latents."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dmp_lightning.data.images.labels import choose_labels
from dmp_lightning.data.images.masks import twins_among
from dmp_lightning.data.images.source import Images, fingerprint_with
from dmp_lightning.data.latents.manifest import Plan
from dmp_lightning.data.latents.vae import downsampling, load_vae, posterior, scaling, weights_hash
from dmp_lightning.data.pictures.colours import BACKGROUND
from dmp_lightning.data.pictures.fit import CROP, fit_picture
from dmp_lightning.data.source import ignore_interrupts
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)


class Item(NamedTuple):
    """An image as the VAE takes it, and the changes that show it so, as in `Shard.notes`."""

    pixels: UInt8[Tensor, "C R R"]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Pixels(Dataset):
    """Images as items; an error in words for each unreadable one."""

    images: Images
    resolution: int
    channels: int

    def __getitem__(self, index: int) -> Item | str:
        try:
            picture = self.images.read(index)
        except Exception as error:  # damaged images raise many kinds
            return f"{self.images.names[index]} cannot be read ({error})"
        return Item(*fit_picture(picture, (self.channels, self.resolution, self.resolution)))


@dataclass(frozen=True)
class Work:
    """The images of a plan, their `labels`, and the VAE `model`.

    `workers` processes read `batch_size` images at a time. With `skip`, unreadable images are left out; else the first
    one ends the work.
    """

    plan: Plan
    images: Images
    labels: Int[np.ndarray, " N"]
    model: Any
    batch_size: int
    workers: int
    skip: bool

    def batches(self, span: range) -> Iterator[tuple[list[Item | str], list[int]]]:
        """The images in `span`, read, with their indices."""
        batches = [list(span[start : start + self.batch_size]) for start in range(0, len(span), self.batch_size)]
        loader: DataLoader = DataLoader(
            Pixels(self.images, self.plan.resolution, self.model.config.in_channels),
            batch_sampler=batches,
            num_workers=self.workers,
            collate_fn=list,
            worker_init_fn=ignore_interrupts,
        )
        yield from zip(loader, batches, strict=True)

    def encode(self, pixels: UInt8[Tensor, "B C R R"]) -> Float[Tensor, "B 2 2 C2 H W"]:
        """Moments of the images and their mirrors, in half precision."""
        moments = posterior(self.model, pixels.to(self.model.device).float() / 127.5 - 1).half().cpu()
        if not moments.isfinite().all():
            raise UserError("The VAE gives latents that are not finite in half precision: set vae to another.")
        return moments


def prepare_images(
    images: Images, source: Path, vae: str, *, labels: str, resolution: int | None, shard_mb: int, **options: Any
) -> Work:
    """The images of `source`, to be encoded by the VAE; arguments and errors as of `encode`, `options` as of `Work`."""
    model = load_vae(vae, download=True).to("cuda" if torch.cuda.is_available() else "cpu")
    numbers, classes, sentence = choose_labels(images, labels, source)
    side, factor = model.config.sample_size if resolution is None else resolution, downsampling(model)
    if side < factor or side % factor:
        raise UserError(f"resolution={side}: choose a multiple of {factor}, which the VAE {vae} needs.")
    shape = (model.config.latent_channels, side // factor, side // factor)
    scale, shift, _ = scaling(model.config)
    plan = Plan(
        shape=shape,
        scale=scale,
        shift=shift,
        vae=vae,
        vae_sha256=weights_hash(model),
        resolution=side,
        crop=CROP,
        source=fingerprint_with(images.fingerprint, numbers),
        images=len(images),
        shard_images=max(1, shard_mb * 2**20 // (2 * 2 * 2 * math.prod(shape))),  # mirrors, moments, bytes of a number
        num_classes=int(numbers.max()) + 1,
        classes=classes,
        held_out=images.held_out,
        background=BACKGROUND,
    )
    several = f"{plan.num_classes:,} classes" if plan.num_classes > 1 else "one class"
    log.info("%s images, %s %s.", f"{plan.images:,}", several, sentence)
    twins = twins_among(images.names)
    if twins:
        log.warning("%s: %s and %s have the same name. If one is a mask, move the masks elsewhere.", source, *twins)
    return Work(plan, images, numbers, model, **options)
