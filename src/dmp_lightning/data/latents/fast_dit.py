"""The files of fast-DiT: a `.npy` with the latent of each image, and one of the same name with its label."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from dmp_lightning.data.latents.foreign import AGAIN, Found, checked_store
from dmp_lightning.data.latents.store import Store
from dmp_lightning.data.latents.vae import Scaling
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)


class Files:
    """fast-DiT's features: a file (1, C, H, W) for each image, and no mirrors."""

    mirrors = 1

    def __init__(self, paths: Sequence[Path], shape: tuple[int, ...]) -> None:
        self.paths, self.shape = paths, shape

    def __len__(self) -> int:
        return len(self.paths)

    def row(self, index: int, mirror: int) -> np.ndarray:
        latent = _read(self.paths[index])
        if latent.shape != self.shape:
            raise UserError(f"{self.paths[index]} has changed from shape {self.shape} to {latent.shape}: {AGAIN}.")
        return latent

    def name(self, index: int) -> str:
        return str(self.paths[index])


def features_in(folder: Path) -> Path | None:
    """The folder of features, if there is one.

    Raises:
        UserError: there are several.
    """
    found = sorted(path for path in folder.glob("*_features") if path.is_dir())
    if len(found) > 1:
        raise UserError(f"{folder} holds both {found[0].name} and {found[1].name}: remove one.")
    return found[0] if found else None


def open_fast_dit(features: Path, vae: Scaling) -> Store:
    """The latents in `NAME_features`, scaled already, with their labels in `NAME_labels`.

    A file for each image is slow, and opening reads all headers and labels.

    Raises:
        UserError: the folders do not belong together, a file is damaged, or as of `checked_store`.
    """
    named = features.with_name(features.name.removesuffix("_features") + "_labels")
    paths, shapes, types, labels = _paths(features, named), {}, {}, []
    for path in tqdm(paths, "Reading labels", unit="file", leave=False, delay=2):
        latent = _read(path, "r")
        shapes[path], types[path] = latent.shape, latent.dtype.name
        labels.append(_label(named / path.name))
    found = Found(
        folder=features,
        parts=[Files(paths, shapes[paths[0]])],
        shapes=shapes,
        types=types,
        labels=np.array(labels),
        label_file=lambda index: named / paths[index].name,
        scale=vae.scale,
        shift=vae.shift,
        scaled=True,
        remedy=f"Extract them again, multiplied by the VAE's scaling factor, {vae.scale:.6g}, once.",
        digest=hashlib.sha256("".join(f"{path.name} {path.stat().st_mtime_ns}" for path in paths).encode()).hexdigest(),
    )
    return checked_store(found, vae.channels)


def _paths(features: Path, named: Path) -> list[Path]:
    paths = sorted(features.glob("*.npy"))
    known = {path.name for path in paths}
    missing = next((name for name in sorted(known) if not (named / name).is_file()), None)
    if missing is not None or not paths:
        raise UserError(f"{named} has no {missing or 'files'}, but {features} has: {AGAIN}.")
    alone = next((path.name for path in sorted(named.glob("*.npy")) if path.name not in known), None)
    if alone is not None:
        raise UserError(f"{features} has no {alone}, but {named} has: {AGAIN}.")
    others = sum(path.suffix != ".npy" for path in features.iterdir())
    if others:
        log.warning("%s: left out files that are not .npy (%s).", features, f"{others:,}")
    return paths


def _read(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    try:
        return np.load(path, mmap_mode, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is not a readable array ({error}): {AGAIN}.") from error


def _label(path: Path) -> int | float:
    value = _read(path)
    if value.size != 1 or value.dtype.kind not in "iuf":
        raise UserError(f"{path} holds {value.dtype} of shape {value.shape}, not one label: {AGAIN}.")
    return value.item()
