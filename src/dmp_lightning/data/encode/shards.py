"""Filling a store of latents shard by shard, by as many processes as are started."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dmp_lightning.data.encode.plans import (
    changing_plan,
    clear,
    finish,
    plan_path,
    record_path,
    shard_ranges,
    write_plan,
)
from dmp_lightning.data.latents.checksums import sha256
from dmp_lightning.data.latents.manifest import Plan, Shard, read_plan, write_record
from dmp_lightning.data.source import ignore_interrupts
from dmp_lightning.files import replacing
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)


class Item(NamedTuple):
    """What `convert` takes of one image; and what was done to the image, as in `Shard.notes`."""

    value: Tensor
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """What a plan is carried out on.

    Args:
        items: of each image an `Item`, or a text: what is wrong with it. names: of the images.
        labels: of the images, (N,). convert: from a batch of items to their latents in half precision.
    """

    plan: Plan
    items: Dataset
    names: Sequence[str]
    labels: np.ndarray
    convert: Callable[[Tensor], Float[Tensor, "B M S C H W"]]


@dataclass(frozen=True)
class Encoder:
    """Carries out a plan.

    A shard depends on its own images alone, so it is the same whoever encodes it, and whenever. Processes, on any
    hosts that share the folder, take shards by locks, which end with the process that holds them.

    Args:
        out: folder of the store. batch_size: images at a time. workers: processes that read images.
        skip: leave unreadable images out, instead of stopping at the first.
    """

    work: Work
    out: Path
    batch_size: int
    workers: int
    skip: bool

    def run(self) -> bool:
        """Encode what nobody else has encoded, or is at; tells whether the store is complete.

        Raises:
            UserError: an image cannot be read; the folder holds something else.
            OSError: the store cannot be written.
        """
        plan = self.work.plan
        write_plan(plan, self.out)
        ranges = shard_ranges(plan)
        done = sum(len(span) for number, span in enumerate(ranges) if self._record(number).exists())
        bar = tqdm(total=plan.images, initial=done, desc="Encoding", unit="image", smoothing=0.05)
        with bar, torch.inference_mode():
            for number, span in enumerate(ranges):
                self._encode_if_free(number, span, bar)
        return finish(plan, self.out)

    def _encode_if_free(self, number: int, span: range, bar: tqdm) -> None:
        record = self._record(number)
        if record.exists():
            return
        try:
            with FileLock(record.with_suffix(".lock"), timeout=0):
                if not record.exists():
                    path = self.out / f"{record.stem}.safetensors"
                    for file in (path, record):
                        clear(file)
                    shard = self._encode(path, span, bar)
                    with changing_plan(self.out):
                        if read_plan(plan_path(self.out)) != self.work.plan:
                            raise UserError(f"{self.out} was meanwhile begun anew with other options: leave it alone.")
                        write_record(shard, record)
        except Timeout:
            pass  # another process is at it

    def _encode(self, path: Path, span: range, bar: tqdm) -> Shard:
        """Write the shard of the images in `span`."""
        work = self.work
        shape = work.plan.mirrors, work.plan.moments, *work.plan.shape
        converted, kept, skipped = [torch.empty(0, *shape, dtype=torch.float16)], [], []
        notes: Counter[str] = Counter()
        for batch, indices in self._batches(span):
            good = []
            for item, index in zip(batch, indices, strict=True):
                if not isinstance(item, str):
                    good.append(item.value)
                    notes.update(item.notes)
                    kept.append(index)
                elif self.skip:
                    log.warning("%s: left out.", item)
                    skipped.append(index)
                else:
                    raise UserError(f"{item}: restore it, or leave such images out with on_error=skip.")
            if good:
                converted.append(work.convert(torch.stack(good)))
            bar.update(len(indices))
        tensors = {"moments": torch.cat(converted), "labels": torch.from_numpy(work.labels[kept]).long()}
        with replacing(path) as temporary:
            save_file(tensors, temporary)
        return Shard(path.name, len(kept), sha256(path), tuple(work.names[index] for index in skipped), dict(notes))

    def _batches(self, span: range) -> Iterator[tuple[list, list[int]]]:
        batches = [list(span[start : start + self.batch_size]) for start in range(0, len(span), self.batch_size)]
        loader: DataLoader = DataLoader(
            self.work.items,
            batch_sampler=batches,
            num_workers=self.workers,
            collate_fn=list,
            worker_init_fn=ignore_interrupts,
        )
        yield from zip(loader, batches, strict=True)

    def _record(self, number: int) -> Path:
        return record_path(self.out, number)
