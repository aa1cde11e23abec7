"""Images that are to be encoded: how they are read, labelled, and turned into latents."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from dmp_lightning.data.encode.shards import Item, Work
from dmp_lightning.data.images.labels import choose_labels
from dmp_lightning.data.images.masks import twins_among
from dmp_lightning.data.images.open import open_images
from dmp_lightning.data.images.source import Images, fingerprint_of
from dmp_lightning.data.latents.manifest import Plan, images_of_a_shard
from dmp_lightning.data.latents.vae import downsampling, load_vae, posterior, scaling, weights_hash
from dmp_lightning.data.pictures.colours import BACKGROUND
from dmp_lightning.data.pictures.fit import CROP, fit_picture
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pixels(Dataset):
    """Images as the VAE takes them, (C, R, R) of 8 bits; of an unreadable one, what is wrong with it."""

    images: Images
    resolution: int
    channels: int

    def __getitem__(self, index: int) -> Item | str:
        try:
            picture = self.images.read(index)
        except Exception as error:  # what damaged images raise is of many kinds
            return f"{self.images.names[index]} cannot be read ({error})"
        pixels, notes = fit_picture(picture, (self.channels, self.resolution, self.resolution))
        return Item(pixels, notes)


def prepare_images(source: Path, vae: str, labels: str, resolution: int | None, shard_mb: int) -> Work:
    """The images at `source`, to be encoded by the VAE; arguments and errors as of `encode`."""
    images = open_images(source)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_vae(vae, download=True).to(device)
    numbers, classes, told = choose_labels(images, labels, source)
    plan = make_plan(images, numbers, classes, model, vae, resolution, shard_mb)
    log.info("%s images, %s classes %s.", f"{plan.images:,}", f"{plan.num_classes:,}", told)
    twins = twins_among(images.names)
    if twins:
        log.warning("%s: %s and %s have one name. Where one is a mask, move the masks elsewhere.", source, *twins)

    def convert(pixels: UInt8[Tensor, "B C R R"]) -> Float[Tensor, "B 2 2 C2 H W"]:
        moments = posterior(model, pixels.to(device).float() / 127.5 - 1).half().cpu()
        if not moments.isfinite().all():
            raise UserError("The VAE gives latents that are not finite in half precision: use another.")
        return moments

    items = Pixels(images, plan.resolution, model.config.in_channels)
    return Work(plan, items, images.names, numbers, convert)


def make_plan(
    images: Images,
    labels: np.ndarray,
    classes: tuple[str, ...] | None,
    model: Any,
    vae: str,
    resolution: int | None,
    shard_mb: int,
) -> Plan:
    """What to encode, and how.

    Raises:
        UserError: the VAE cannot halve images of that resolution so often.
    """
    resolution = model.config.sample_size if resolution is None else resolution
    factor = downsampling(model)
    if resolution < factor or resolution % factor:
        raise UserError(f"resolution={resolution}: the VAE {vae} takes images of a multiple of {factor} pixels.")
    side = resolution // factor
    shape = (model.config.latent_channels, side, side)
    scale, shift, _ = scaling(model.config)
    return Plan(
        shape=shape,
        scale=scale,
        shift=shift,
        vae=vae,
        vae_sha256=weights_hash(model),
        resolution=resolution,
        crop=CROP,
        source=fingerprint_of([images.fingerprint, hashlib.sha256(labels.tobytes()).hexdigest()]),
        images=len(images),
        shard_images=images_of_a_shard(shard_mb, 2 * 2, shape),
        num_classes=int(labels.max()) + 1,
        classes=classes,
        held_out=images.held_out,
        background=BACKGROUND,
    )
