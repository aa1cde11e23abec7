"""From a place with images to a store of their latents."""

import logging
import math
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from dmp_lightning.data.checksums import problems
from dmp_lightning.data.crop import CROP
from dmp_lightning.data.encoding import Encoder
from dmp_lightning.data.image_sources import Images, folder_labels, open_images
from dmp_lightning.data.manifest import MANIFEST, Plan, read_manifest
from dmp_lightning.data.vae import downsampling, load_vae, scale_and_shift, weights_hash

log = logging.getLogger(__name__)

SYNSET = r"n\d{8}"
LABELS = ("auto", "folders", "none")
ON_ERROR = ("fail", "skip")


def encode_images(
    source: str,
    out: str,
    vae: str,
    *,
    labels: str,
    resolution: int | None,
    shard_mb: int,
    batch_size: int,
    workers: int,
    on_error: str,
) -> None:
    """Encode the images at `source` into the folder `out`, or go on with it.

    Args:
        source: a folder, zip, tar, or folder of tars or IDX files.
        vae: a folder in diffusers' format, or hf://ORGANISATION/NAME.
        labels: `folders`: each folder of images is a class. `auto`: those that the source gives, or the folders where
            they are ImageNet's synsets. `none`: one class.
        resolution: side of the square images, or None for the VAE's own. shard_mb: size of a shard, at most.
        on_error: whether to stop at an unreadable image, or to leave it out.

    Raises:
        FileNotFoundError: there are no images, or no VAE.
        ValueError: an option does not fit; an image cannot be read; `out` holds other latents.
    """
    for name, number, least in (("shard_mb", shard_mb, 1), ("batch_size", batch_size, 1), ("workers", workers, 0)):
        if number < least:
            raise ValueError(f"{name}={number}: choose {least} or more.")
    for name, value, known in (("labels", labels, LABELS), ("on_error", on_error, ON_ERROR)):
        if value not in known:
            raise ValueError(f"{name}={value} is none of {', '.join(known)}.")
    images = open_images(Path(source))
    model = load_vae(vae, download=True)
    numbers, classes = choose_labels(images, labels)
    plan = make_plan(images, numbers, classes, model, vae, resolution, shard_mb)
    named = "" if classes is None else f" with labels by folder, {classes[0]} to {classes[-1]}"
    log.info("%s images, %s classes%s.", f"{plan.images:,}", f"{plan.num_classes:,}", named)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = Encoder(
        plan, images, numbers, model.to(device), Path(out), device, batch_size, workers, skip=on_error == "skip"
    )
    if encoder.run():
        manifest = read_manifest(Path(out) / MANIFEST)
        skipped = plan.images - manifest.count
        log.info("%s: %s latents in %s shards.", out, f"{manifest.count:,}", len(manifest.shards))
        if skipped:
            log.warning("%s images could not be read; %s names them.", f"{skipped:,}", Path(out) / MANIFEST)
    else:
        log.info("Other processes are at the rest of the shards; the last of them completes %s.", out)


def choose_labels(images: Images, labels: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The label of each image, (N,), and the names of the classes where these are folders."""
    if labels == "auto" and images.labels is not None:
        return images.labels, None
    if labels == "folders" or (labels == "auto" and _in_synsets(images)):
        return folder_labels(images.names)
    return np.zeros(len(images), np.int64), None


def _in_synsets(images: Images) -> bool:
    return all(re.fullmatch(SYNSET, PurePosixPath(name).parent.name) for name in images.names)


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
        ValueError: the VAE cannot halve images of that resolution so often.
    """
    resolution = model.config.sample_size if resolution is None else resolution
    factor = downsampling(model)
    if resolution < factor or resolution % factor:
        raise ValueError(f"resolution={resolution}: the VAE {vae} takes images of a multiple of {factor} pixels.")
    side = resolution // factor
    shape = (model.config.latent_channels, side, side)
    scale, shift = scale_and_shift(model)
    return Plan(
        shape=shape,
        scale=scale,
        shift=shift,
        vae=vae,
        vae_sha256=weights_hash(model),
        resolution=resolution,
        crop=CROP,
        source=images.fingerprint,
        images=len(images),
        shard_images=max(1, shard_mb * 2**20 // (2 * 2 * 2 * math.prod(shape))),
        num_classes=int(labels.max()) + 1,
        classes=classes,
        held_out=images.held_out,
    )


def verify(folder: str) -> None:
    """Read a whole store, and compare its checksums and counts with its manifest.

    Raises:
        FileNotFoundError: it has no manifest: it is no store, or not complete.
        ValueError: with a sentence for each shard that is missing or damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}: name the folder of a store that is complete.")
    manifest = read_manifest(path)
    found = [str(problem) for problem in problems(Path(folder), manifest.shards)]
    counted = sum(shard.count for shard in manifest.shards)
    if counted != manifest.count:
        found.append(f"{path} counts {manifest.count} latents, its shards {counted}: encode again.")
    if found:
        raise ValueError("\n       ".join(found))
    log.info("%s is whole: %s latents in %s shards.", folder, f"{manifest.count:,}", len(manifest.shards))
