"""Reading latents: shards that are memory-mapped, a whole batch of them at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dmp_lightning.data.latents.checksums import check_shards
from dmp_lightning.data.latents.held_out import HELD_OUT, last
from dmp_lightning.data.latents.manifest import MANIFEST, Manifest, read_manifest
from dmp_lightning.user_error import UserError


@runtime_checkable
class Part(Protocol):
    """A file of latents, or many."""

    mirrors: int
    """2 where each image's mirror is stored too, else 1."""

    def __len__(self) -> int: ...

    def row(self, index: int, mirror: int) -> np.ndarray:
        """(S, C, H, W): mean and standard deviation (S = 2), or a latent that is drawn already (S = 1)."""

    def name(self, index: int) -> str:
        """The file that it is in, for a sentence."""


@dataclass(frozen=True)
class Store:
    """Latents of images in order, with all that is known of them.

    `shape` is (S, C, H, W). For the model a latent of the VAE is `(latent - shift) * scale`, each a number or of shape
    (C, 1, 1); with `scaled` the latents are stored so. `held_out` are indices in order; `undrawn` says that they are
    the last ones for want of a draw, as in stores of format 1. `classes` are the names of the labels, if they have any.
    """

    parts: Sequence[Part]
    shape: tuple[int, int, int, int]
    labels: Int[Tensor, " N"]
    num_classes: int
    scale: float | Tensor
    shift: float | Tensor
    held_out: Int[np.ndarray, " H"]
    vae_sha256: str | None
    digest: str
    scaled: bool = False
    undrawn: bool = False
    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def mirrors(self) -> int:
        return self.parts[0].mirrors

    def name(self, index: int) -> str:
        """Where the latent at `index` is, for a sentence."""
        starts = np.cumsum([0, *map(len, self.parts)])
        part = int(np.searchsorted(starts, index, side="right")) - 1
        return self.parts[part].name(index - int(starts[part]))

    def scaling(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Scale and shift, on `device`."""
        return torch.as_tensor(self.scale, device=device), torch.as_tensor(self.shift, device=device)

    def scale_for_model(self, latents: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Latents as they are stored, as the model takes them."""
        scale, shift = self.scaling(latents.device)
        return latents if self.scaled else (latents - shift) * scale

    def gather(self, indices: Int[np.ndarray, " B"], mirrored: Int[np.ndarray, " B"]) -> Num[Tensor, "B S C H W"]:
        """The latents at `indices`, or, where `mirrored` is 1, of their mirrors, as they are stored.

        Raises:
            UserError: one is not finite; the sentence gives its index and file.
        """
        starts = np.cumsum([0, *map(len, self.parts)])
        parts = np.searchsorted(starts, indices, side="right") - 1
        first = self.parts[0].row(0, 0)
        gathered = np.empty((len(indices), *self.shape), first.dtype)
        # One copy a row runs at the speed of memory, however many shards a batch is spread over.
        rows = zip(parts.tolist(), (indices - starts[parts]).tolist(), mirrored.tolist(), strict=True)
        for place, (part, row, mirror) in enumerate(rows):
            gathered[place] = self.parts[part].row(row, mirror)
        latents = torch.from_numpy(gathered)
        if not latents.sum(dtype=torch.float32).isfinite():  # a quick look, enough unless something is wrong
            finite = latents.isfinite().flatten(1).all(1)
            if not finite.all():
                index = int(indices[int(finite.int().argmin())])
                raise UserError(f"Latent {index} ({self.name(index)}) is not finite")
        return latents


class Moments:
    """A shard of ours: `moments` (n, M, S, C, H, W), memory-mapped."""

    def __init__(self, path: Path, moments: np.ndarray) -> None:
        self.path, self.moments, self.mirrors = path, moments, moments.shape[1]

    def __len__(self) -> int:
        return len(self.moments)

    def row(self, index: int, mirror: int) -> np.ndarray:
        return self.moments[index, mirror]

    def name(self, index: int) -> str:
        return str(self.path)


def open_store(folder: Path) -> Store:
    """The store that `python -m dmp_lightning.encode` wrote into `folder`.

    Raises:
        MissingFileError: a shard is missing.
        UserError: the manifest or a shard is damaged.
    """
    manifest = read_manifest(folder / MANIFEST)
    check_shards(folder, manifest.shards)
    opened = [_open_shard(folder / shard.name, shard.count, manifest) for shard in manifest.shards]
    plan = manifest.plan
    held_out, undrawn = _held_out(manifest, folder)
    return Store(
        parts=[moments for moments, _ in opened],
        shape=(plan.moments, *plan.shape),
        labels=torch.cat([labels for _, labels in opened]),
        num_classes=plan.num_classes,
        scale=_by_channel(plan.scale),
        shift=_by_channel(plan.shift),
        held_out=held_out,
        vae_sha256=plan.vae_sha256,
        digest=",".join(shard.sha256 for shard in manifest.shards),
        scaled=plan.scaled,
        undrawn=undrawn,
        classes=plan.classes,
    )


def read_tensors(path: Path, names: Sequence[str]) -> list[Tensor]:
    """Tensors of a safetensors file, memory-mapped.

    Raises:
        UserError: the file is damaged, or has no such tensors.
    """
    try:
        with safe_open(path, "pt") as file:
            return [file.get_tensor(name) for name in names]
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no readable shard of latents ({error}): restore it, or encode again.") from error


def _open_shard(path: Path, count: int, manifest: Manifest) -> tuple[Moments, Tensor]:
    moments, labels = read_tensors(path, ["moments", "labels"])
    plan = manifest.plan
    expected = (count, plan.mirrors, plan.moments, *plan.shape)
    if tuple(moments.shape) != expected or len(labels) != count:
        raise UserError(f"{path} has shape {tuple(moments.shape)}, not {expected}: encode again.")
    if moments.dtype != torch.float16:
        raise UserError(f"{path} holds {moments.dtype}, not half-precision numbers: encode again.")
    if labels.is_floating_point() or not ((labels >= 0) & (labels < plan.num_classes)).all():
        raise UserError(f"{path} holds labels that are not whole numbers below {plan.num_classes}: encode again.")
    return Moments(path, moments.numpy()), labels.long()


def _held_out(manifest: Manifest, folder: Path) -> tuple[np.ndarray, bool]:
    """Indices of the held-out images, and whether they are the last ones for want of better."""
    count, apart = manifest.count, manifest.plan.held_out
    if manifest.held_out is None:
        return last(min(HELD_OUT, count // 10) if apart is None else apart, count), apart is None
    known = all(type(index) is int and 0 <= index < count for index in manifest.held_out)
    if not known or sorted(set(manifest.held_out)) != list(manifest.held_out):
        raise UserError(f"{folder / MANIFEST} holds out images that there are not, or out of order: encode again.")
    return np.array(manifest.held_out, np.int64), False


def _by_channel(value: float | tuple[float, ...]) -> float | Tensor:
    return torch.tensor(value).view(-1, 1, 1) if isinstance(value, tuple) else value
