"""Latents of other projects: their types, shapes, labels and scale are checked before anything is trained on them."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Num
from torch import Tensor

from dmp_lightning.data.latents.held_out import draw_held_out
from dmp_lightning.data.latents.parts import Part
from dmp_lightning.data.latents.store import Store
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

SAMPLE = 256  # latents, evenly over the store, whose numbers are checked when it is opened
LOWEST, LOW, HIGH = 0.1, 0.3, 3.0  # of a latent's root mean square; unscaled ones of Stable Diffusion's VAE have 5.5
MOST_CLASSES = 1_000_000
AGAIN = "extract the features again"


class Found(NamedTuple):
    """Latents in a `folder`, as another project wrote them.

    `shapes` are of one latent in each file, which should be (1, C, H, W). `types` are of its numbers, by the names of
    numpy and torch. `labels` (N,) are of any type; `label_file` gives the file of each. `scale`, `shift` and `scaled`
    are as of a `Store`, and `remedy` is what to do about another scale. `digest` names the content.
    """

    folder: Path
    parts: Sequence[Part]
    shapes: Mapping[Path, tuple[int, ...]]
    types: Mapping[Path, str]
    labels: Num[np.ndarray, " N"]
    label_file: Callable[[int], Path]
    scale: float | Tensor
    shift: float | Tensor
    scaled: bool
    remedy: str
    digest: str


def checked_store(found: Found, channels: int | None) -> Store:
    """The latents as a store, if a model can be trained on them; anything that is converted is logged.

    Args:
        channels: of the VAE, if they are known.

    Raises:
        UserError: they are not floating-point (1, C, H, W) with a label each, finite, and of the scale that models are
            trained on.
    """
    shape, labels = _common_shape(found, channels), _labels(found)
    store = Store(
        parts=found.parts,
        shape=shape,
        dtype=_common_type(found),
        labels=labels,
        num_classes=int(labels.max()) + 1,
        scale=found.scale,
        shift=found.shift,
        held_out=draw_held_out(labels.numpy()),
        vae_sha256=None,
        digest=found.digest,
        scaled=found.scaled,
    )
    _check_numbers(store, found)
    return store


def _common_shape(found: Found, channels: int | None) -> tuple[int, int, int, int]:
    (common, _), *others = Counter(found.shapes.values()).most_common()
    if others:
        odd, shape = next((path, shape) for path, shape in found.shapes.items() if shape != common)
        raise UserError(f"{odd} holds latents of shape {shape}, but other files have {common}: {AGAIN}.")
    if len(common) != 4 or common[0] != 1 or 0 in common:
        raise UserError(f"{found.folder} holds latents of shape {common}, not (1, C, H, W): {AGAIN}.")
    if channels not in (None, common[1]):
        raise UserError(
            f"{found.folder} holds latents of {common[1]} channels, but the VAE has {channels}: set data.train.vae to "
            "the VAE that made them."
        )
    _, c, h, w = common
    return 1, c, h, w


def _common_type(found: Found) -> np.dtype:
    """Half precision if all files have it, else single."""
    for path, name in found.types.items():
        if not name.startswith(("float", "bfloat")):
            raise UserError(f"{path} holds numbers of type {name}, not floating-point: {AGAIN}.")
    names = sorted(set(found.types.values()))
    common = np.dtype(np.float16 if names == ["float16"] else np.float32)
    if names != [common.name]:
        log.warning("%s: latents of type %s are read as %s.", found.folder, " and ".join(names), common)
    return common


def _labels(found: Found) -> Int[Tensor, " N"]:
    values = found.labels
    if values.dtype.kind not in "iuf":
        raise UserError(f"{found.label_file(0)} holds labels of type {values.dtype}, not whole numbers: {AGAIN}.")
    wrong = ~((values >= 0) & (values < MOST_CLASSES) & (np.floor(values) == values))
    if wrong.any():
        first = int(wrong.argmax())
        raise UserError(
            f"{found.label_file(first)} holds the label {values[first]}, not a whole number from 0: {AGAIN}."
        )
    if values.dtype.kind == "f":
        log.warning("%s: labels of type %s are read as whole numbers.", found.folder, values.dtype)
    return torch.from_numpy(values.astype(np.int64))


def _check_numbers(store: Store, found: Found) -> None:
    """Check a sample: finite, not constant in any channel, and of the right scale. Reading checks all for being finite.

    Raises:
        UserError: they are not; the sentence names a file, and the number measured.
    """
    indices = np.unique(np.linspace(0, len(store) - 1, SAMPLE).astype(int))
    latents = store.scale_for_model(store.gather(indices, np.zeros_like(indices))[:, 0].float())
    sizes = latents.flatten(1).square().mean(1).sqrt()
    size, largest, worst = sizes.median().item(), sizes.max().item(), int(sizes.argmax())
    expected = f"but models expect about 1 ({LOW} to {HIGH}). {found.remedy}"
    typical = f"{found.folder} holds latents of a typical size (RMS) of {size:.3g}, {expected}"
    if not LOWEST <= size <= HIGH:
        raise UserError(typical)
    if size < LOW:
        log.warning(typical)
    if largest > HIGH:
        where = store.name(int(indices[worst]))
        raise UserError(f"{where} holds a latent of size (RMS) {largest:.3g} among others of {size:.3g}, {expected}")
    dead = (latents.transpose(0, 1).flatten(1).std(1) == 0).nonzero().flatten().tolist()
    if dead and latents[:, 0].numel() > 1:
        raise UserError(f"{found.folder} holds latents whose channel {dead[0]} is constant: {AGAIN}.")
    if store.mirrors == 2:
        mirrors = store.scale_for_model(store.gather(indices, np.ones_like(indices))[:, 0].float())
        if torch.equal(mirrors, latents):
            raise UserError(f"{found.folder} holds mirrors (latents_flip) that equal the latents: {AGAIN}.")
