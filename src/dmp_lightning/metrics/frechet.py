"""The Fréchet distance between generated images and a reference, over any features (Heusel et al. 2017)."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from filelock import FileLock
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dmp_lightning.files import DamagedError, load_tensors, save_tensors
from dmp_lightning.metrics.features import Features, Images
from dmp_lightning.metrics.moments import Moments, Reference

log = logging.getLogger(__name__)

STATISTICS = ("real_features_sum", "real_features_cov_sum", "real_features_num_samples")
"""How files of reference statistics call the parts of `Sums`."""


class Sums(NamedTuple):
    """Of features in float64: their sum (F,), that of their outer products (F, F), and how many there are."""

    total: Float[Tensor, " F"]
    squares: Float[Tensor, "F F"]
    number: Int[Tensor, ""]

    @classmethod
    def of_none(cls, size: int, device: torch.device | str) -> "Sums":
        """Of no images."""
        total, squares = (torch.zeros(shape, dtype=torch.float64, device=device) for shape in ((size,), (size, size)))
        return cls(total, squares, torch.tensor(0, device=device))

    def add(self, features: Float[Tensor, "N F"]) -> "Sums":
        """With those of these features."""
        return Sums(self.total + features.sum(0), self.squares + features.T.mm(features), self.number + len(features))

    def to(self, device: torch.device | str) -> "Sums":
        return Sums(*(value.to(device) for value in self))

    def of_all_processes(self) -> "Sums":
        """Added up over the processes, on the CPU."""
        return Sums(*(_added_up(value).cpu() for value in self))

    def moments(self) -> Moments:
        mean = self.total / self.number
        return Moments(mean, (self.squares - self.number * torch.outer(mean, mean)) / (self.number - 1))


def _added_up(value: Tensor) -> Tensor:
    if not dist.is_initialized():
        return value
    gathered = [torch.empty_like(value) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, value.contiguous())
    return torch.stack(gathered).sum(0)


class FrechetDistance:
    """`|m - m_r|^2 + tr(S + S_r - 2 (S S_r)^(1/2))` of the features' means m and covariances S, in float64.

    The order of calls: `reference` once, then for each measurement `update` with every batch, `compute`, `reset`. Each
    process adds its own images, and all get the distance of all. It is no module, so that the checkpoints of what holds
    it are free of the extractor's weights; `to` moves it.
    """

    def __init__(self, features: Features) -> None:
        self.features = features.eval()
        self._compared_with: Reference | None = None
        self._real = self._generated = Sums.of_none(features.num_features, "cpu")

    @property
    def name(self) -> str:
        """The metric's name: `fid` for Inception's features alone."""
        return self.features.name

    def to(self, device: torch.device | str) -> "FrechetDistance":
        """Move extractor and statistics to `device`, where the images have to be as well."""
        self.features.to(device)
        self._real, self._generated = self._real.to(device), self._generated.to(device)
        return self

    def reference(self, batches: Iterable[UInt8[Tensor, "_ C H W"]], data: str, folder: Path | None = None) -> None:
        """Set the statistics of the reference images, from the cache in `folder` where it has them.

        Args:
            batches: all reference images, the same on every process, which share the work. Not read on a cache hit.
            data: fingerprint of the reference images; with the one of the features it names the cache's file.
            folder: of the cache, made where missing; None keeps nothing.
        """
        rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        file = None if folder is None else folder / f"{self.name}-{data}-{self.features.fingerprint}.safetensors"
        self._compared_with, self._real = None, self._no_images()
        with one_at_a_time(file if rank == 0 else None):
            # One process looks and all do as it found: a file that another run finishes meanwhile must not divide them.
            found = self._read(file) if rank == 0 and file is not None else None
            hit = [found is not None]
            if processes > 1:
                dist.broadcast_object_list(hit)
            if hit[0]:
                if found is not None:  # on the first process alone, because processes are added up
                    self._real = found.to(self._real.total.device)
                return
            for images in islice(batches, rank, None, processes):
                self._real = self._real.add(self._features_of(images).double())
            sums = self._real.of_all_processes()
            if rank == 0 and file is not None:
                _write(sums, file)

    def update(self, images: Images) -> Float[Tensor, "N F"]:
        """Add generated images, and return their features."""
        features = self._features_of(images)
        self._generated = self._generated.add(features.double())
        return features

    @property
    def compared_with(self) -> Reference:
        """The moments of the reference images of all processes; computed at the first use."""
        if self._compared_with is None:
            self._compared_with = Reference(self._moments(self._real, "reference"))
        return self._compared_with

    def compute(self) -> float:
        """The distance of all images added, by all processes, since the last reset.

        Raises:
            ValueError: there are fewer than two images on either side.
        """
        return self.compared_with.distance(self._moments(self._generated, "generated"))

    def reset(self) -> None:
        """Forget the generated images; the reference stays."""
        self._generated = self._no_images()

    def _moments(self, sums: Sums, which: str) -> Moments:
        """Mean and covariance of all images of one side."""
        everywhere = sums.of_all_processes()
        if everywhere.number < 2:
            found = int(everywhere.number)
            raise ValueError(f"{self.name} needs two {which} images at least, there are {found}: give more.")
        return everywhere.moments()

    def _features_of(self, images: Images) -> Float[Tensor, "N F"]:
        # Under a training run's bf16 autocast the extractor would return bf16, and the distance with it.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return self.features(images)

    def _no_images(self) -> Sums:
        return Sums.of_none(self.features.num_features, self._real.total.device)

    def _read(self, file: Path) -> Sums | None:
        """The cached statistics; None where there are none, or the file is not as it was written, which is logged."""
        if not file.is_file():
            return None
        try:
            found = load_tensors(file)
            return Sums(*(found[key] for key in STATISTICS))
        except DamagedError as error:
            log.warning("%s: the reference statistics are computed again.", error)
            return None


@contextmanager
def one_at_a_time(file: Path | None) -> Iterator[None]:
    """Runs that start together wait for the first of them to compute what is kept in `file`, and then read it."""
    with ExitStack() as stack:
        if file is not None:
            with suppress(OSError):  # in a folder that cannot be written to, each computes its own
                file.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(file.with_suffix(".lock")))
        yield


def _write(sums: Sums, file: Path) -> None:
    try:
        save_tensors(dict(zip(STATISTICS, sums, strict=True)), file)
    except OSError as error:
        log.warning("The reference statistics are not kept for the next run: %s", error)
