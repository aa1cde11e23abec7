"""The files of fast-DiT: of each image a `.npy` with its latent, and one of the same name with its label."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from torch import Tensor
from tqdm import tqdm

from dmp_lightning.data.latents.foreign_checks import AGAIN, check_labels
from dmp_lightning.data.latents.npy import Header, read_header
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)


class Files:
    """fast-DiT's features: a file (1, C, H, W) for each image, and no mirrors; read as numbers of type `kept`."""

    mirrors = 1

    def __init__(self, paths: Sequence[Path], shape: tuple[int, ...], kept: np.dtype) -> None:
        self.paths, self.shape, self.kept = paths, shape, kept

    def __len__(self) -> int:
        return len(self.paths)

    def row(self, index: int, mirror: int) -> np.ndarray:
        latent = read_array(self.paths[index])
        if latent.shape != self.shape:
            raise UserError(f"{self.paths[index]} has changed to shape {latent.shape} from {self.shape}: {AGAIN}.")
        return latent.astype(self.kept, copy=False)

    def name(self, index: int) -> str:
        return str(self.paths[index])


class Found(NamedTuple):
    """The headers of the features' files, in the order of their names, and their labels (N,)."""

    headers: dict[Path, Header]
    labels: Int[Tensor, " N"]


def read_files(features: Path, named: Path) -> Found:
    """Read the headers of all features, and all labels, which lie in the folder `named`.

    Raises:
        UserError: the folders do not go together, or a file is damaged, or no label.
    """
    paths = sorted(features.glob("*.npy"))
    known = {path.name for path in paths}
    missing = next((name for name in sorted(known) if not (named / name).is_file()), None)
    if missing is not None or not paths:
        raise UserError(f"{named} has no {missing or 'files'}, though {features} has: {AGAIN}.")
    alone = next((path.name for path in sorted(named.glob("*.npy")) if path.name not in known), None)
    if alone is not None:
        raise UserError(f"{features} has no {alone}, though {named} has: {AGAIN}.")
    others = sum(path.suffix != ".npy" for path in features.iterdir())
    if others:
        log.warning("%s: left out %s that are no .npy files.", features, f"{others:,}")
    headers, labels = dict[Path, Header](), []
    for path in tqdm(paths, "Reading labels", unit="file", leave=False, delay=2):
        headers[path] = _header(path)
        labels.append(_label(named / path.name))
    return Found(headers, check_labels(np.array(labels), lambda index: str(named / paths[index].name)))


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file, without running code from it.

    Raises:
        UserError: it is damaged.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is no readable array ({error}): {AGAIN}.") from error


def _header(path: Path) -> Header:
    try:
        with path.open("rb") as file:
            header = read_header(file)
            left = path.stat().st_size - file.tell()
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is no readable array ({error}): {AGAIN}.") from error
    wanted = math.prod(header.shape) * header.dtype.itemsize
    if not header.dtype.hasobject and left < wanted:
        raise UserError(f"{path} is no readable array ({left} of {wanted} bytes are there): {AGAIN}.")
    return header


def _label(path: Path) -> int | float:
    value = read_array(path)
    if value.size != 1 or value.dtype.kind not in "iuf":
        raise UserError(f"{path} holds {value.dtype} of shape {value.shape}, not one label: {AGAIN}.")
    return value.item()
