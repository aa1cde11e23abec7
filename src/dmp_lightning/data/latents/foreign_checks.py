"""Latents of others before anything is trained on them: their types, shapes, labels and scale."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, Num
from torch import Tensor

from dmp_lightning.data.latents.store import Store
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

SAMPLE = 256  # latents, evenly over the store, whose numbers are looked at when it is opened
LOWEST, LOW, HIGH = 0.1, 0.3, 3.0  # of a latent's root mean square; unscaled ones of Stable Diffusion's VAE have 5.5
MOST_CLASSES = 1_000_000
AGAIN = "extract the features again"


def common_shape(shapes: Mapping[Path, tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that all files have.

    Raises:
        UserError: they have several; the sentence names a file with a rare one.
    """
    (common, _), *others = Counter(shapes.values()).most_common()
    if others:
        odd = next(path for path, shape in shapes.items() if shape != common)
        raise UserError(f"{odd} holds latents of shape {shapes[odd]}, other files {common}: {AGAIN}.")
    return common


def common_type(types: Mapping[Path, str]) -> np.dtype:
    """What the files are read as: half precision where all of them have it, else single; what is converted is said.

    Args:
        types: of the numbers in each file, by the names that numpy and torch have for them.

    Raises:
        UserError: a file does not hold floating-point numbers.
    """
    for path, name in types.items():
        if not name.startswith(("float", "bfloat")):
            raise UserError(f"{path} holds numbers of type {name}: latents are floating-point, {AGAIN}.")
    found = sorted(set(types.values()))
    common = np.dtype(np.float16 if found == ["float16"] else np.float32)
    if found != [common.name]:
        first = next(path for path, name in types.items() if name != common.name)
        log.warning("%s: latents of type %s are read as %s.", first.parent, " and ".join(found), common)
    return common


def check_shape(where: Path, shape: tuple[int, ...], channels: int | None) -> None:
    """Make sure that a latent, with a first dimension of images, is (1, C, H, W), with as many channels as the VAE's.

    Raises:
        UserError: it is not.
    """
    if len(shape) != 4 or shape[0] != 1 or 0 in shape:
        raise UserError(f"{where} holds latents of shape {shape}, not (1, C, H, W): {AGAIN}.")
    if channels is not None and shape[1] != channels:
        raise UserError(
            f"{where} holds latents of {shape[1]} channels, the VAE has {channels}: set the VAE that they are from."
        )


def check_labels(values: Num[np.ndarray, " N"], name: Callable[[int], str]) -> Int[Tensor, " N"]:
    """The labels as whole numbers; what is converted is said.

    Args:
        name: where the label of this index is.

    Raises:
        UserError: they are no labels.
    """
    if values.dtype.kind not in "iuf":
        raise UserError(f"{name(0)} holds labels of type {values.dtype}, not whole numbers: {AGAIN}.")
    wrong = ~((values >= 0) & (values < MOST_CLASSES) & (np.floor(values) == values))
    if wrong.any():
        first = int(wrong.argmax())
        raise UserError(f"{name(first)} holds the label {values[first]}, not a whole number from 0 on: {AGAIN}.")
    if values.dtype.kind == "f":
        log.warning("%s: labels of type %s are read as whole numbers.", name(0), values.dtype)
    return torch.from_numpy(values.astype(np.int64))


def check_numbers(store: Store, folder: Path, remedy: str) -> None:
    """Look at a sample of the latents: finite, alive in every channel, and of the scale that models are trained on.

    All others are looked at when they are read, for being finite.

    Args:
        remedy: what to do about another scale.

    Raises:
        UserError: they are not; the sentence names a file, and what was measured.
    """
    indices = np.unique(np.linspace(0, len(store) - 1, SAMPLE).astype(int))
    latents = store.scale_for_model(store.gather(indices, np.zeros_like(indices))[:, 0].float())
    sizes = latents.flatten(1).square().mean(1).sqrt()
    size, largest, worst = sizes.median().item(), sizes.max().item(), int(sizes.argmax())
    expected = f"as the model takes them they should be near 1 ({LOW} to {HIGH}). {remedy}"
    if not LOWEST <= size <= HIGH:
        raise UserError(f"{folder} holds latents whose numbers have a typical size (RMS) of {size:.3g}: {expected}")
    if size < LOW:
        log.warning("%s holds latents whose numbers have a typical size (RMS) of %.3g: %s", folder, size, expected)
    if largest > HIGH:
        where = store.name(int(indices[worst]))
        raise UserError(f"{where} holds a latent of size (RMS) {largest:.3g}, others of {size:.3g}: {expected}")
    dead = (latents.transpose(0, 1).flatten(1).std(1) == 0).nonzero().flatten().tolist()
    if dead and latents[:, 0].numel() > 1:
        raise UserError(f"{folder} holds latents whose channel {dead[0]} is the same number everywhere: {AGAIN}.")
    if store.mirrors == 2:
        mirrors = store.scale_for_model(store.gather(indices, np.ones_like(indices))[:, 0].float())
        if torch.equal(mirrors, latents):
            raise UserError(f"{folder} holds mirrors (latents_flip) that are the latents themselves: {AGAIN}.")
