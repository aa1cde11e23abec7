"""The files of LightningDiT: shards of latents with those of the mirrors, and the statistics of each channel."""

from pathlib import Path

import torch
from torch import Tensor

from dmp_lightning.data.latents.foreign import AGAIN, Found, checked_store
from dmp_lightning.data.latents.parts import Planes, read_tensors
from dmp_lightning.data.latents.store import Store
from dmp_lightning.data.latents.vae import Scaling
from dmp_lightning.user_error import UserError

STATISTICS = "latents_stats.pt"


def is_lightningdit(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def open_lightningdit(folder: Path, vae: Scaling) -> Store:
    """The shards' `latents`, `latents_flip` and `labels`, of the VAE's own scale.

    If `latents_stats.pt` is beside them they are normalised by it, channel by channel, as LightningDiT does; else by
    the VAE's scale and shift.

    Raises:
        UserError: a file is damaged, its tensors do not belong together, or as of `checked_store`.
    """
    shards = {path: _read_shard(path) for path in sorted(folder.glob("*.safetensors"))}
    labels = torch.cat([labels for _, _, labels in shards.values()])
    files = [path for path, (_, _, labels) in shards.items() for _ in range(len(labels))]
    statistics = folder / STATISTICS
    mean: float | Tensor = vae.shift
    std: float | Tensor = 1 / vae.scale
    source = f"The VAE scales by {vae.scale:.6g}"
    if statistics.is_file():
        mean, std = _read_statistics(statistics, next(iter(shards.values()))[0].shape[1])
        source = f"{statistics} may belong to other latents"
    found = Found(
        folder=folder,
        parts=[Planes(path, [latents[:, None], flipped[:, None]]) for path, (latents, flipped, _) in shards.items()],
        shapes={path: (1, *latents.shape[1:]) for path, (latents, _, _) in shards.items()},
        types={path: _type(latents) for path, (latents, _, _) in shards.items()},
        labels=(labels.double() if labels.is_floating_point() else labels).numpy(),
        label_file=lambda index: files[index],
        scale=1 / std,
        shift=mean,
        scaled=False,
        remedy=f"{source}: put the right {STATISTICS} beside them, or set data.train.vae to the VAE that made them.",
        digest=",".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in shards),
    )
    return checked_store(found, vae.channels)


def _read_shard(path: Path) -> list[Tensor]:
    """Latents and those of the mirrors, each (n, C, H, W), and labels (n,), memory-mapped."""
    shard = latents, flipped, labels = read_tensors(path, ["latents", "latents_flip", "labels"])
    fits = latents.ndim == 4 and latents.shape == flipped.shape and labels.shape == latents.shape[:1]
    if not fits or latents.dtype != flipped.dtype or not len(latents):
        about = [f"{tuple(tensor.shape)} of {_type(tensor)}" for tensor in shard]
        raise UserError(
            f"{path} holds latents {about[0]}, mirrors {about[1]} and labels {about[2]}, which do not fit together: "
            f"{AGAIN}."
        )
    return shard


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _read_statistics(path: Path, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (C, 1, 1)."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        mean, std = (found[name].float().reshape(-1, 1, 1) for name in ("mean", "std"))
    except Exception as error:  # torch raises many kinds on damaged files
        raise UserError(f"{path} holds no mean and std of latents: remove it, or restore it.") from error
    for name, value in (("mean", mean), ("std", std)):
        if len(value) != channels:
            raise UserError(
                f"{path} has a {name} of {len(value)} channels, but the latents have {channels}: restore it."
            )
        if not value.isfinite().all() or (name == "std" and not (value > 0).all()):
            raise UserError(f"{path} has a {name} of {value.flatten().tolist()}: remove it, or restore it.")
    return mean, std
