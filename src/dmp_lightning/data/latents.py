"""Latents of images on disk: the moments of each image and of its mirror, memory-mapped."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dmp_lightning.data.images import to_uint8
from dmp_lightning.data.source import Draw

HELD_OUT = 1_000  # images at the end of the store, for the validation loss


class Latents:
    """Posterior moments of images under a VAE, scaled as the diffusion model expects them.

    The folder holds `manifest.json` (`shape` of a latent, `scale`, `shift`, `num_classes`, `shards`: a list of file
    names) and, for each shard, NAME.npy of shape (n, 2, 2, C, H, W): image and mirror, mean and standard deviation, and
    NAME.labels.npy of shape (n,). A latent is `(draw - shift) * scale`: each draw of a training sample is new, and
    mirrored half of the time (latents themselves cannot be flipped).

    Args:
        folder: of the store. train: all but the last 1,000 images, or these.
        vae: the VAE in diffusers' format, as a folder: it decodes samples, in float32.

    Raises:
        FileNotFoundError: the store, one of its files, or the VAE is missing.
        ValueError: a file is damaged, or not of the shape that the manifest says; on reading: a latent is not finite.
    """

    def __init__(self, folder: str | Path, train: bool, vae: str | Path) -> None:
        self.folder = Path(folder)
        self.vae = Path(vae)
        _check_prepared(self.folder, self.vae)
        self.manifest = json.loads((self.folder / "manifest.json").read_text())
        channels, height, width = self.manifest["shape"]
        self.sample_shape = (channels, height, width)
        self.num_classes = self.manifest["num_classes"]
        self.shards = [_open_shard(self.folder / f"{name}.npy", self.sample_shape) for name in self.manifest["shards"]]
        labels = [np.load(self.folder / f"{name}.labels.npy") for name in self.manifest["shards"]]
        self.labels = torch.from_numpy(np.concatenate(labels)).long()
        self.starts = np.cumsum([0, *map(len, self.shards)])
        total = int(self.starts[-1])
        held_out = min(HELD_OUT, total // 10)
        self.range = range(total - held_out) if train else range(total - held_out, total)
        digest = hashlib.sha256((self.folder / "manifest.json").read_bytes()).hexdigest()[:16]
        self.fingerprint = f"latents-{digest}-{'train' if train else 'held-out'}"
        self.cache = self.folder / "statistics"

    def __len__(self) -> int:
        return len(self.range)

    def draw(self, indices: Sequence[int], chances: Iterable[torch.Generator] | None) -> Draw:
        chosen = [self.range[index] for index in indices]
        moments = torch.stack([self._moments(index) for index in chosen])
        if not moments.isfinite().all():
            bad = chosen[int(moments.isfinite().flatten(1).all(1).int().argmin())]
            raise ValueError(f"Latent {bad} of {self.folder} is not finite: encode again.")
        if chances is None:
            latents = moments[:, 0, 0]
        else:
            drawn = [_draw_one(pair, chance) for pair, chance in zip(moments, chances, strict=True)]
            latents = torch.stack(drawn)
        return Draw((latents - self.manifest["shift"]) * self.manifest["scale"], self.labels[chosen])

    def images(self, batch_size: int) -> Iterator[UInt8[Tensor, "B 3 H W"]]:
        for start in range(0, len(self), batch_size):
            latents = self.draw(range(start, min(start + batch_size, len(self))), None).x
            yield to_uint8(self.decode(latents))

    @torch.no_grad()
    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 3 H2 W2"]:
        latents = x.float() / self.manifest["scale"] + self.manifest["shift"]
        # Under a training run's bf16 autocast the VAE would lose what the Fréchet distance looks at.
        with torch.autocast(x.device.type, enabled=False):
            return self._decoder.to(x.device).decode(latents).sample

    @cached_property
    def _decoder(self) -> Any:
        from diffusers import AutoencoderKL  # slow to import, and only needed for pictures

        vae = AutoencoderKL.from_pretrained(self.vae, local_files_only=True, low_cpu_mem_usage=False)
        return vae.float().eval().requires_grad_(False)

    def _moments(self, index: int) -> Float[Tensor, "2 2 C H W"]:
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return torch.from_numpy(self.shards[shard][index - self.starts[shard]].astype(np.float32))


def _draw_one(moments: Float[Tensor, "2 2 C H W"], chance: torch.Generator) -> Float[Tensor, "C H W"]:
    mean, std = moments[int(torch.randint(2, (), generator=chance))]
    return mean + std * torch.randn(mean.shape, generator=chance)


def _check_prepared(folder: Path, vae: Path) -> None:
    missing = []
    if not (folder / "manifest.json").is_file():
        missing.append(
            f"There are no latents at {folder}: encode the images with `python -m dmp_lightning.encode`, or set "
            "data.train.folder to where the latents are."
        )
    if not (vae / "config.json").is_file():
        missing.append(
            f"There is no VAE at {vae}, to decode samples with: put the one that the latents are from (sd-vae-ft-ema) "
            "there in diffusers' format, or set data.train.vae to its folder."
        )
    if missing:
        raise FileNotFoundError("\n       ".join(missing))


def _open_shard(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"The manifest names {path}, which is missing: restore it, or encode again.")
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} is no readable shard of latents ({error}): restore it, or encode again.") from error
    if not np.issubdtype(shard.dtype, np.floating):
        raise ValueError(f"{path} holds {shard.dtype}, not floating-point numbers: encode again.")
    if shard.shape[1:] != (2, 2, *shape):
        raise ValueError(f"{path} has shape {shard.shape}, not (n, 2, 2, {', '.join(map(str, shape))}): encode again.")
    return shard
