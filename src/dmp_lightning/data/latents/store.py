"""Reading latents from memory-mapped shards, a batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from dmp_lightning.data.latents.checksums import check_shards
from dmp_lightning.data.latents.held_out import HELD_OUT
from dmp_lightning.data.latents.manifest import MANIFEST, Manifest, Plan, read_manifest
from dmp_lightning.data.latents.parts import Part, Planes, read_tensors
from dmp_lightning.user_error import UserError


@dataclass(frozen=True)
class Store:
    """Latents of images in order, and all that is known about them.

    `shape` is (S, C, H, W), and `dtype` the type that latents are read as. For the model a latent of the VAE is
    `(latent - shift) * scale`, each a number or of shape (C, 1, 1); with `scaled` the latents are stored so. `held_out`
    are indices in order; `undrawn` says that they are the last ones instead of a draw, as in stores of format 1.
    `classes` are the names of the labels, if they have any. `digest` names the content, `source` the pictures and their
    labels, if they are known, and `skipped` are the names of those that could not be read.
    """

    parts: Sequence[Part]
    shape: tuple[int, int, int, int]
    dtype: np.dtype
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
    source: str | None = None
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def mirrors(self) -> int:
        return self.parts[0].mirrors

    def name(self, index: int) -> str:
        """The place of the latent at `index`, for messages."""
        (part,), (row,) = self._places(np.array([index]))
        return self.parts[part].name(row)

    def scaling(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Scale and shift, on `device`."""
        return torch.as_tensor(self.scale, device=device), torch.as_tensor(self.shift, device=device)

    def scale_for_model(self, latents: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Stored latents as the model takes them."""
        scale, shift = self.scaling(latents.device)
        return latents if self.scaled else (latents - shift) * scale

    def gather(self, indices: Int[np.ndarray, " B"], mirrored: Int[np.ndarray, " B"]) -> Num[Tensor, "B S C H W"]:
        """The stored latents at `indices`, or, where `mirrored` is 1, of their mirrors.

        Raises:
            UserError: one is not finite; the sentence gives its index and file.
        """
        gathered = np.empty((len(indices), *self.shape), self.dtype)
        # One copy a row runs at the speed of memory, however many shards a batch is spread over.
        for place, (part, row, mirror) in enumerate(zip(*self._places(indices), mirrored.tolist(), strict=True)):
            gathered[place] = self.parts[part].row(row, mirror)
        latents = torch.from_numpy(gathered)
        if not latents.sum(dtype=torch.float32).isfinite():  # a quick test, enough unless something is wrong
            finite = latents.isfinite().flatten(1).all(1)
            if not finite.all():
                index = int(indices[int(finite.int().argmin())])
                raise UserError(f"Latent {index} ({self.name(index)}) is not finite")
        return latents

    def _places(self, indices: Int[np.ndarray, " B"]) -> tuple[list[int], list[int]]:
        """The part that each latent is in, and its row there."""
        starts = np.cumsum([0, *map(len, self.parts)])
        parts = np.searchsorted(starts, indices, side="right") - 1
        return parts.tolist(), (indices - starts[parts]).tolist()


def open_store(folder: Path) -> Store:
    """The store that `python -m dmp_lightning.encode` wrote into `folder`.

    Raises:
        MissingFileError: a shard is missing.
        UserError: the manifest or a shard is damaged.
    """
    manifest = read_manifest(folder / MANIFEST)
    check_shards(folder, manifest.shards)
    opened = [_open_shard(folder / shard.name, shard.count, manifest.plan) for shard in manifest.shards]
    plan = manifest.plan
    held_out, undrawn = _held_out(manifest, folder)
    return Store(
        parts=[part for part, _ in opened],
        shape=(plan.moments, *plan.shape),
        dtype=np.dtype(np.float16),
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
        source=plan.source,
        skipped=tuple(name for shard in manifest.shards for name in shard.skipped),
    )


def _open_shard(path: Path, count: int, plan: Plan) -> tuple[Planes, Tensor]:
    moments, labels = read_tensors(path, ["moments", "labels"])
    expected = (count, plan.mirrors, plan.moments, *plan.shape)
    if tuple(moments.shape) != expected or len(labels) != count:
        raise UserError(f"{path} has shape {tuple(moments.shape)}, not {expected}: encode again.")
    if moments.dtype != torch.float16:
        raise UserError(f"{path} holds {moments.dtype}, not half-precision numbers: encode again.")
    if labels.is_floating_point() or not ((labels >= 0) & (labels < plan.num_classes)).all():
        raise UserError(f"{path} holds labels that are not whole numbers below {plan.num_classes}: encode again.")
    return Planes(path, moments.unbind(1)), labels.long()


def _held_out(manifest: Manifest, folder: Path) -> tuple[np.ndarray, bool]:
    """Indices of the held-out images, and whether they are the last ones instead of a draw."""
    count, apart, drawn = manifest.count, manifest.plan.held_out, manifest.held_out
    if drawn is None:
        return np.arange(count - (min(HELD_OUT, count // 10) if apart is None else apart), count), apart is None
    if not all(type(index) is int and 0 <= index < count for index in drawn) or sorted(set(drawn)) != list(drawn):
        raise UserError(f"{folder / MANIFEST} holds out images that do not exist, or out of order: encode again.")
    return np.array(drawn, np.int64), False


def _by_channel(value: float | tuple[float, ...]) -> float | Tensor:
    return torch.tensor(value).view(-1, 1, 1) if isinstance(value, tuple) else value
