"""The Fréchet distance between generated images and a reference, over any features (Heusel et al. 2017)."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
from filelock import FileLock
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from dmp_lightning.files import DamagedError
from dmp_lightning.metrics.features import Features, Images
from dmp_lightning.metrics.moments import Moments, Reference
from dmp_lightning.tensors import load_tensors, save_tensors
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

STATISTICS = ("real_features_sum", "real_features_cov_sum", "real_features_num_samples")


class FrechetDistance:
    """`|m - m_r|^2 + tr(S + S_r - 2 (S S_r)^(1/2))` of the features' means m and covariances S, in float64.

    torchmetrics accumulates, adds up over processes and evaluates it. The order of calls: `reference` once, then for
    each measurement `update` with every batch, `compute`, `reset`. It is no module, so that the checkpoints of what
    holds it are free of the extractor's weights; `to` moves it.
    """

    def __init__(self, features: Features) -> None:
        self.features = features.eval()
        self._reference: Reference | None = None
        self._metric = FrechetInceptionDistance(
            _Given(features.num_features), reset_real_features=False, compute_with_cache=False
        )

    @property
    def name(self) -> str:
        """The metric's name: `fid` for Inception's features alone."""
        return self.features.name

    def to(self, device: torch.device | str) -> "FrechetDistance":
        """Move extractor and statistics to `device`, where the images have to be as well."""
        self.features.to(device)
        self._metric.to(device)
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
        self._set_statistics(self._no_statistics())
        with one_at_a_time(file if rank == 0 else None):
            # One process looks and all do as it found: a file that another run finishes meanwhile must not divide them.
            found = self._read(file) if rank == 0 and file is not None else None
            hit = [found is not None]
            if processes > 1:
                dist.broadcast_object_list(hit)
            if hit[0]:
                # On the first process alone, because torchmetrics adds up over processes.
                self._set_statistics(found or {})
                return
            for images in islice(batches, rank, None, processes):
                self._add(images, real=True)
            with self._metric.sync_context():
                statistics = {key: getattr(self._metric, key).cpu() for key in STATISTICS}
            if rank == 0 and file is not None:
                _write(statistics, file)

    def update(self, images: Images) -> Float[Tensor, "N F"]:
        """Add generated images, and return their features."""
        return self._add(images, real=False)

    @property
    def compared_with(self) -> Reference:
        """The moments of the reference images of all processes; computed at the first use."""
        if self._reference is None:
            self._reference = Reference(self._moments("real"))
        return self._reference

    def compute(self) -> float:
        """The distance of all images added, by all processes, since the last reset.

        Raises:
            UserError: there are fewer than two images on either side.
        """
        return self.compared_with.distance(self._moments("fake"))

    def reset(self) -> None:
        """Forget the generated images; the reference stays."""
        self._metric.reset()

    def _moments(self, side: str) -> Moments:
        """Mean and covariance of all images of one side, `real` or `fake`."""
        with self._metric.sync_context():
            sums = [
                getattr(self._metric, f"{side}_features_{part}").cpu() for part in ("sum", "cov_sum", "num_samples")
            ]
        total, squares, count = sums
        if count < 2:
            which = {"real": "reference", "fake": "generated"}[side]
            raise UserError(f"{self.name} needs two {which} images at least, there are {int(count)}: give more.")
        mean = total / count
        return Moments(mean, (squares - count * torch.outer(mean, mean)) / (count - 1))

    def _add(self, images: Images, real: bool) -> Float[Tensor, "N F"]:
        # Under a training run's bf16 autocast the extractor would return bf16, and the distance with it.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            features = self.features(images)
            self._metric.update(features.double(), real=real)
        return features

    def _no_statistics(self) -> dict[str, Tensor]:
        n = self.features.num_features
        zeros = torch.zeros(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64), torch.tensor(0)
        return dict(zip(STATISTICS, zeros, strict=True))

    def _set_statistics(self, statistics: dict[str, Tensor]) -> None:
        self._reference = None
        for key, value in statistics.items():
            setattr(self._metric, key, value.to(self._metric.device, copy=True))

    def _read(self, file: Path) -> dict[str, Tensor] | None:
        """The cached statistics; None where there are none, or the file is not as it was written, which is logged."""
        if not file.is_file():
            return None
        try:
            return load_tensors(file)
        except DamagedError as error:
            log.warning("%s: the reference statistics are computed again.", error)
            return None


class _Given(nn.Module):
    """Stands where torchmetrics wants an extractor: the features come ready, in float64, the type of the distance."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
        return features


@contextmanager
def one_at_a_time(file: Path | None) -> Iterator[None]:
    """Runs that start together wait for the first of them to compute what is kept in `file`, and then read it."""
    with ExitStack() as stack:
        if file is not None:
            with suppress(OSError):  # in a folder that cannot be written to, each computes its own
                file.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(file.with_suffix(".lock")))
        yield


def _write(statistics: dict[str, Tensor], file: Path) -> None:
    try:
        save_tensors(statistics, file)
    except OSError as error:
        log.warning("The reference statistics are not kept for the next run: %s", error)
