"""Latents that people already have, read as they are: those of fast-DiT and of LightningDiT, drawn for good."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from dmp_lightning.data.latents.fast_dit import Files, read_files
from dmp_lightning.data.latents.foreign_checks import (
    check_labels,
    check_numbers,
    check_shape,
    common_shape,
    common_type,
)
from dmp_lightning.data.latents.held_out import draw_held_out
from dmp_lightning.data.latents.lightningdit import STATISTICS, Pairs, Shard, read_shard, read_statistics
from dmp_lightning.data.latents.store import Part, Store
from dmp_lightning.data.latents.vae import Scaling
from dmp_lightning.user_error import UserError


def is_lightningdit(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def is_fast_dit(folder: Path) -> bool:
    return bool(_features(folder))


def open_lightningdit(folder: Path, vae: Scaling) -> Store:
    """LightningDiT's shards: `latents`, `latents_flip`, `labels`, of the VAE's own scale.

    Where `latents_stats.pt` is beside them they are normalised by it, channel by channel, as LightningDiT does; else
    by the VAE's scale and shift.

    Raises:
        UserError: a file is damaged, or holds something else; the numbers are not what a model is trained on.
    """
    paths = sorted(folder.glob("*.safetensors"))
    shards = {path: read_shard(path) for path in paths}
    shape = common_shape({path: (1, *shard.latents.shape[1:]) for path, shard in shards.items()})
    check_shape(paths[0], shape, vae.channels)
    kept = common_type({path: str(shard.latents.dtype).removeprefix("torch.") for path, shard in shards.items()})
    parts = [Pairs(path, shard, kept) for path, shard in shards.items()]
    labels = torch.cat([_labels(path, shard) for path, shard in shards.items()])
    statistics = folder / STATISTICS
    given = read_statistics(statistics, shape[1]) if statistics.is_file() else None
    mean, std = given or (vae.shift, 1 / vae.scale)
    digest = ",".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)
    store = _store(parts, shape, labels, scale=1 / std, shift=mean, digest=digest)
    scaled_by = f"{statistics} is of other latents" if given else f"The VAE scales by {vae.scale:.6g}"
    check_numbers(store, folder, f"{scaled_by}: put the right {STATISTICS} beside them, or set the VAE they are from.")
    return store


def open_fast_dit(folder: Path, vae: Scaling) -> Store:
    """fast-DiT's folders, `*_features` and `*_labels`, with files of the same names; they are scaled already.

    A file a sample is slow, and opening reads all headers and labels.

    Raises:
        UserError: the folders do not go together, a file is damaged, or holds something else; the numbers are not what
            a model is trained on.
    """
    features = _features(folder)
    assert features is not None  # as is_fast_dit has found
    found = read_files(features, features.with_name(features.name.removesuffix("_features") + "_labels"))
    shape = common_shape({path: header.shape for path, header in found.headers.items()})
    check_shape(features, shape, vae.channels)
    kept = common_type({path: header.dtype.name for path, header in found.headers.items()})
    paths = list(found.headers)
    digest = hashlib.sha256("".join(f"{path.name} {path.stat().st_mtime_ns}" for path in paths).encode()).hexdigest()
    store = _store(
        [Files(paths, shape, kept)], shape, found.labels, scale=vae.scale, shift=vae.shift, digest=digest, scaled=True
    )
    remedy = f"Extract them again, multiplied by the VAE's scaling factor, {vae.scale:.6g}, once."
    check_numbers(store, features, remedy)
    return store


def _features(folder: Path) -> Path | None:
    found = sorted(path for path in folder.glob("*_features") if path.is_dir())
    if len(found) > 1:
        raise UserError(f"{folder} holds both {found[0].name} and {found[1].name}: leave one of them there.")
    return found[0] if found else None


def _labels(path: Path, shard: Shard) -> Int[Tensor, " N"]:
    values = shard.labels.double() if shard.labels.is_floating_point() else shard.labels
    return check_labels(values.numpy(), lambda _: str(path))


def _store(
    parts: Sequence[Part],
    shape: tuple[int, ...],
    labels: Tensor,
    scale: float | Tensor,
    shift: float | Tensor,
    digest: str,
    scaled: bool = False,
) -> Store:
    moments, channels, height, width = shape
    return Store(
        parts=parts,
        shape=(moments, channels, height, width),
        labels=labels,
        num_classes=int(labels.max()) + 1,
        scale=scale,
        shift=shift,
        held_out=draw_held_out(labels.numpy()),
        vae_sha256=None,
        digest=digest,
        scaled=scaled,
    )
