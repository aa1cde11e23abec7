"""Latents of images on disk as a `Source`."""

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.images.source import fingerprint_with
from dmp_lightning.data.latents.fast_dit import features_in, open_fast_dit
from dmp_lightning.data.latents.lightningdit import is_lightningdit, open_lightningdit
from dmp_lightning.data.latents.manifest import MANIFEST
from dmp_lightning.data.latents.remote import fetch_store, is_remote
from dmp_lightning.data.latents.store import Store, open_store
from dmp_lightning.data.latents.vae import configured_scaling, decode, has_vae, load_vae, weights_hash
from dmp_lightning.data.source import Stored
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)


class Latents:
    """Latents of images under a VAE, scaled as the diffusion model expects them.

    If the moments of the posterior are stored, each training sample is drawn from it. If the mirrors are stored, half
    of the samples are mirrored (latents themselves cannot be flipped).

    Args:
        folder: of the latents, as `python -m dmp_lightning.encode` writes them; s3://, gs:// and hf:// are fetched. Or
            as fast-DiT or LightningDiT writes them, with one latent for each image.
        train: all but the held-out images, or these. The manifest lists them; other projects have none, and theirs are
            drawn as `encode` draws them.
        vae: the VAE of the latents in diffusers' format, a folder or hf://ORGANISATION/NAME: it decodes samples.

    Raises:
        MissingFileError: the latents, one of their files, or the VAE is missing.
        UserError: a file is damaged, or of another shape than it should be; on reading: a latent is not finite; on
            decoding: the VAE is another.
    """

    def __init__(self, folder: str | Path, train: bool, vae: str | Path) -> None:
        self.vae = str(vae)
        self.folder = fetch_store(str(folder)) if is_remote(str(folder)) else Path(folder)
        _check_prepared(self.folder, self.vae)
        self.store = _open(self.folder, self.vae)
        self.sample_shape = self.store.shape[1:]
        self.num_classes, self.versions = self.store.num_classes, self.store.mirrors
        self.classes = self.store.classes
        self.moments = self.store.shape[0] == 2
        self.count, self.held_out, self.skipped = len(self.store), self.store.held_out, self.store.skipped
        held_out = self.held_out
        self.indices = np.delete(np.arange(len(self.store)), held_out) if train else held_out
        if not train:
            self._check_held_out()
        content = f"{self.store.digest} without {held_out.tolist()}"
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        self.fingerprint = f"latents-{digest}-{'train' if train else 'held-out'}"
        self.cache = self.folder / "statistics"

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Sequence[int], versions: Sequence[int] | None = None) -> Stored:
        chosen = self.indices[np.asarray(indices)]
        mirrors = np.zeros_like(chosen) if versions is None else np.array(versions)
        try:
            x = self.store.gather(chosen, mirrors)
        except ValueError as error:
            raise UserError(f"{error} in {self.folder}: encode again.") from error
        return Stored(x, Condition(self.store.labels[torch.from_numpy(chosen)]))

    def draw(
        self, x: Num[Tensor, "B S C H W"], noise: Float[Tensor, "B C H W"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        latents = x[:, 0].float()
        if noise is not None and self.moments:
            latents = latents.addcmul(x[:, 1].float(), noise)
        return self.store.scale_for_model(latents)

    def decode(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        scale, shift = self.store.scaling(x.device)
        return decode(self._decoder[0], x.float() / scale + shift)

    def may_be_of(self, pictures: str) -> bool:
        if self.store.source is None or self.skipped:
            return True
        return self.store.source == fingerprint_with(pictures, self.store.labels.numpy())

    @property
    def vae_sha256(self) -> str:
        """Hash of the weights of the VAE that decodes; errors as of decoding."""
        return self._decoder[1]

    def _check_held_out(self) -> None:
        if not len(self):
            raise UserError(
                f"No image of {self.folder} can be held out, because each class has only one: encode more images, or "
                "use labels=none."
            )
        if self.store.undrawn:
            log.warning(
                "%s was encoded by an earlier version, which held out the last %s images by name. To draw them evenly "
                "over classes, encode into another folder.",
                self.folder,
                f"{len(self):,}",
            )

    @cached_property
    def _decoder(self) -> tuple[Any, str]:
        vae = load_vae(self.vae)
        found = weights_hash(vae)
        if self.store.vae_sha256 not in (None, found):
            raise UserError(
                f"The VAE {self.vae} is not the one that made the latents in {self.folder}: set data.train.vae to "
                "that one."
            )
        return vae, found


def _open(folder: Path, vae: str) -> Store:
    if (folder / MANIFEST).is_file():
        return open_store(folder)
    features, scaling = features_in(folder), configured_scaling(vae)
    return open_lightningdit(folder, scaling) if features is None else open_fast_dit(features, scaling)


def _check_prepared(folder: Path, vae: str) -> None:
    missing = []
    if not ((folder / MANIFEST).is_file() or is_lightningdit(folder) or features_in(folder)):
        missing.append(
            f"There are no latents at {folder}: encode the images with `python -m dmp_lightning.encode`, or set "
            "data.train.folder to their folder."
        )
    if not has_vae(vae):
        missing.append(
            f"There is no VAE at {vae} to decode samples: put the VAE that made the latents (such as sd-vae-ft-ema) "
            "there in diffusers' format, or set data.train.vae to its folder."
        )
    if missing:
        raise MissingFileError("\n       ".join(missing))
