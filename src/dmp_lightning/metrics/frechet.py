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
from torch import Tensor
from torchmetrics import Metric

from dmp_lightning.files import DamagedError
from dmp_lightning.metrics.features import Features, Images
from dmp_lightning.metrics.moments import Moments, Reference
from dmp_lightning.tensors import load_tensors, save_tensors
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

SUMS = ("sum", "cov_sum", "num_samples")
PREFIX = "real_features_"  # before these in the cache's files


class FeatureSums(Metric):
    """Sum (F,), sum of outer products (F, F) and number of features, in float64, of all batches and processes."""

    def __init__(self, num_features: int) -> None:
        super().__init__(compute_with_cache=False)
        n = num_features
        zeros = torch.zeros(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64), torch.tensor(0)
        for name, zero in zip(SUMS, zeros, strict=True):
            self.add_state(name, zero, dist_reduce_fx="sum")

    def update(self, sums: dict[str, Tensor]) -> None:
        """Add the sums of some more features."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + sums[name].to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The sums, on the CPU."""
        return {name: getattr(self, name).cpu() for name in SUMS}


class FrechetDistance:
    """`|m - m_r|^2 + tr(S + S_r - 2 (S S_r)^(1/2))` of the features' means m and covariances S, in float64.

    torchmetrics accumulates, and adds up over processes. The order of calls: `reference` once, then for each
    measurement `update` with every batch, `compute`, `reset`. It is no module, so that the checkpoints of what holds it
    are free of the extractor's weights; `to` moves it.
    """

    def __init__(self, features: Features) -> None:
        self.features = features.eval()
        self._reference: Reference | None = None
        self._real, self._generated = FeatureSums(features.num_features), FeatureSums(features.num_features)

    @property
    def name(self) -> str:
        """The metric's name: `fid` for Inception's features alone."""
        return self.features.name

    def to(self, device: torch.device | str) -> "FrechetDistance":
        """Move extractor and sums to `device`, where the images must be as well."""
        for module in (self.features, self._real, self._generated):
            module.to(device)
        return self

    def reference(self, batches: Iterable[UInt8[Tensor, "_ C H W"]], data: str, folder: Path | None = None) -> None:
        """Set the statistics of the reference images, from the cache in `folder` if it has them.

        Args:
            batches: all reference images, the same on every process, which share the work. Not read on a cache hit.
            data: fingerprint of the reference images; with the one of the features it names the cache's file.
            folder: of the cache, made if missing; None keeps nothing.
        """
        rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        file = None if folder is None else folder / f"{self.name}-{data}-{self.features.fingerprint}.safetensors"
        self._reference = None
        self._real.reset()
        with one_at_a_time(file if rank == 0 else None):
            # Rank 0 reads the cache and broadcasts whether it has the file, so all ranks take the same branch.
            found = _read(file) if rank == 0 and file is not None else None
            hit = [found is not None]
            if processes > 1:
                dist.broadcast_object_list(hit)
            if found is not None:  # on rank 0 alone, because torchmetrics adds up over processes
                self._real.update(found)
            if hit[0]:
                return
            for images in islice(batches, rank, None, processes):
                self._real.update(_sums(self._extract(images)))
            sums = self._real.compute()
            if rank == 0 and file is not None:
                _write(sums, file)

    def update(self, images: Images) -> Float[Tensor, "N F"]:
        """Add generated images, and return their features."""
        features = self._extract(images)
        self._generated.update(_sums(features))
        return features

    @property
    def compared_with(self) -> Reference:
        """The moments of the reference images of all processes; computed at the first use."""
        if self._reference is None:
            self._reference = Reference(self._moments(self._real, "reference"))
        return self._reference

    def compute(self) -> float:
        """The distance of all images added, by all processes, since the last reset.

        Raises:
            UserError: there are fewer than two images on either side.
        """
        return self.compared_with.distance(self._moments(self._generated, "generated"))

    def reset(self) -> None:
        """Forget the generated images; the reference stays."""
        self._generated.reset()

    def _extract(self, images: Images) -> Float[Tensor, "N F"]:
        # Under a training run's bf16 autocast the extractor would return bf16, and the distance with it.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return self.features(images)

    def _moments(self, features: FeatureSums, which: str) -> Moments:
        total, squares, count = features.compute().values()
        if count < 2:
            remedy = "set evaluation.samples higher" if which == "generated" else "use more data"
            raise UserError(f"{self.name} needs at least two {which} images, but has {int(count)}: {remedy}.")
        mean = (total / count).reshape(-1)  # torchmetrics squeezes what has a single number
        return Moments(mean, (squares - count * torch.outer(mean, mean)) / (count - 1))


def _sums(features: Float[Tensor, "N F"]) -> dict[str, Tensor]:
    features = features.double()
    values = features.sum(0), features.T @ features, torch.tensor(len(features))
    return dict(zip(SUMS, values, strict=True))


@contextmanager
def one_at_a_time(file: Path | None) -> Iterator[None]:
    """Let runs that start together wait for the first of them, which computes what is kept in `file`."""
    with ExitStack() as stack:
        if file is not None:
            with suppress(OSError):  # in a folder that cannot be written to, each computes its own
                file.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(file.with_suffix(".lock")))
        yield


def _read(file: Path) -> dict[str, Tensor] | None:
    """The cached sums; None if there are none, or the file is damaged, which is logged."""
    if not file.is_file():
        return None
    try:
        return {name.removeprefix(PREFIX): value for name, value in load_tensors(file).items()}
    except DamagedError as error:
        log.warning("%s: computing the reference statistics again.", error)
        return None


def _write(sums: dict[str, Tensor], file: Path) -> None:
    try:
        save_tensors({f"{PREFIX}{name}": value for name, value in sums.items()}, file)
    except OSError as error:
        log.warning("The reference statistics could not be cached: %s", error)
