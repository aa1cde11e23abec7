"""Latents that people already have, read as they are: those of fast-DiT and of LightningDiT, drawn for good."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dmp_lightning.data.held_out import draw_held_out
from dmp_lightning.data.store import Part, Store, read_tensors

STATISTICS = "latents_stats.pt"


class Pairs:
    """A shard of LightningDiT: `latents` and those of the mirrors, `latents_flip`, each (n, C, H, W), memory-mapped."""

    mirrors = 2

    def __init__(self, latents: np.ndarray, latents_flip: np.ndarray) -> None:
        self.planes = (latents, latents_flip)

    def __len__(self) -> int:
        return len(self.planes[0])

    def row(self, index: int, mirror: int) -> np.ndarray:
        return self.planes[mirror][index, None]


class Files:
    """fast-DiT's features: a file (1, C, H, W) for each image, and no mirrors."""

    mirrors = 1

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def row(self, index: int, mirror: int) -> np.ndarray:
        return read_array(self.paths[index])


def is_lightningdit(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def is_fast_dit(folder: Path) -> bool:
    return bool(_features(folder))


def open_lightningdit(folder: Path, scale: float, shift: float) -> Store:
    """LightningDiT's shards: `latents`, `latents_flip`, `labels`, of the VAE's own scale.

    Where `latents_stats.pt` is beside them they are normalised by it, channel by channel, as LightningDiT does; else
    by the VAE's `scale` and `shift`.

    Raises:
        ValueError: a file is damaged, or holds something else.
    """
    paths = sorted(folder.glob("*.safetensors"))
    parts: list[Part] = []
    labels = []
    for path in paths:
        latents, flipped, numbers = read_tensors(path, ["latents", "latents_flip", "labels"])
        fits = latents.ndim == 4 and latents.shape == flipped.shape and numbers.shape == latents.shape[:1]
        if not fits or latents.dtype not in (torch.float16, torch.float32):
            raise ValueError(
                f"{path} holds latents {tuple(latents.shape)}, mirrors {tuple(flipped.shape)} and labels "
                f"{tuple(numbers.shape)} of {latents.dtype}: they do not go together, extract them again."
            )
        parts.append(Pairs(latents.numpy(), flipped.numpy()))
        labels.append(numbers.long())
    mean, std = _statistics(folder / STATISTICS) if (folder / STATISTICS).is_file() else (shift, 1 / scale)
    digest = ",".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)
    return _store(parts, torch.cat(labels), scale=1 / std, shift=mean, digest=digest)


def open_fast_dit(folder: Path, scale: float, shift: float) -> Store:
    """fast-DiT's folders, `*_features` and `*_labels`, with files of the same names; they are scaled already.

    A file a sample is slow, and opening reads all labels: a store of `python -m dmp_lightning.encode` is not.

    Raises:
        ValueError: the folders do not go together, or a file is damaged.
    """
    features = _features(folder)
    assert features is not None  # as is_fast_dit has found
    named = features.with_name(features.name.replace("_features", "_labels"))
    paths = sorted(features.glob("*.npy"))
    missing = next((path.name for path in paths if not (named / path.name).is_file()), None)
    if missing is not None or not paths:
        raise ValueError(f"{named} has no {missing or 'files'}, though {features} has: extract the features again.")
    bar = tqdm(paths, "Reading labels", unit="file", leave=False, delay=2)
    labels = torch.tensor([int(read_array(named / path.name).reshape(-1)[0]) for path in bar])
    digest = hashlib.sha256("".join(f"{path.name} {path.stat().st_mtime_ns}" for path in paths).encode()).hexdigest()
    return _store([Files(paths)], labels, scale=scale, shift=shift, digest=digest, scaled=True)


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file, without running code from it.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no readable array ({error}): extract the features again.") from error


def _features(folder: Path) -> Path | None:
    found = sorted(path for path in folder.glob("*_features") if path.is_dir())
    return found[0] if len(found) == 1 else None


def _store(
    parts: Sequence[Part],
    labels: Tensor,
    scale: float | Tensor,
    shift: float | Tensor,
    digest: str,
    scaled: bool = False,
) -> Store:
    first = parts[0].row(0, 0)
    other = next((part.row(0, 0).shape for part in parts if part.row(0, 0).shape != first.shape), None)
    if other is not None:
        raise ValueError(f"The files hold latents of shapes {first.shape} and {other}: extract them again.")
    if first.ndim != 4 or len(first) != 1:
        raise ValueError(f"The latents have shape {first.shape}, not (1, C, H, W): extract them again.")
    return Store(
        parts=parts,
        shape=first.shape,
        labels=labels,
        num_classes=int(labels.max()) + 1,
        scale=scale,
        shift=shift,
        held_out=draw_held_out(labels.numpy()),
        vae_sha256=None,
        digest=digest,
        scaled=scaled,
    )


def _statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (C, 1, 1)."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        mean, std = (found[name].float().reshape(-1, 1, 1) for name in ("mean", "std"))
    except Exception as error:  # what torch raises on damaged files is of many kinds
        raise ValueError(f"{path} holds no mean and std of latents: remove it, or restore it.") from error
    return mean, std
