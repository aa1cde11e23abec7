"""Filling a store of latents shard by shard, by as many processes as are started."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_file
from tqdm import tqdm

from dmp_lightning.data.encode.images import Work
from dmp_lightning.data.encode.plans import changing_plan, clear, finish, plan_path, shards_of, write_plan
from dmp_lightning.data.latents.checksums import sha256
from dmp_lightning.data.latents.manifest import Shard, read_plan, write_record
from dmp_lightning.files import replacing
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)


def fill_store(work: Work, out: Path) -> bool:
    """Encode all shards of the store `out` that no other process has encoded or is encoding.

    A shard depends on its own images alone, so it is the same whichever process encodes it. Processes, on any hosts
    that share the folder, take shards by locks, which end with the process that holds them.

    Returns:
        Whether the store is complete.

    Raises:
        UserError: an image cannot be read; the folder holds something else.
        OSError: the store cannot be written.
    """
    write_plan(work.plan, out)
    shards = shards_of(out, work.plan.images, work.plan.shard_images)
    done = sum(len(span) for record, span in shards if record.exists())
    bar = tqdm(total=work.plan.images, initial=done, desc="Encoding", unit="image", smoothing=0.05)
    with bar, torch.inference_mode():
        fill_each(shards, lambda record, span: _fill_shard(work, out, record, span, bar))
    return finish(work.plan, out)


def fill_each(shards: Iterable[tuple[Path, range]], fill: Callable[[Path, range], None]) -> None:
    """Call `fill` for each shard that no other process has filled or is filling."""
    for record, span in shards:
        if record.exists():
            continue
        with suppress(Timeout), FileLock(record.with_suffix(".lock"), timeout=0):  # else another process has it
            if not record.exists():
                fill(record, span)


def _fill_shard(work: Work, out: Path, record: Path, span: range, bar: tqdm) -> None:
    path = out / f"{record.stem}.safetensors"
    for file in (path, record):
        clear(file)
    shard = _encode(work, path, span, bar)
    with changing_plan(out):
        if read_plan(plan_path(out)) != work.plan:
            raise UserError(f"Another process has restarted {out} with other options: choose another folder with out=.")
        write_record(shard, record)


def _encode(work: Work, path: Path, span: range, bar: tqdm) -> Shard:
    """Write the shard of the images in `span`."""
    plan = work.plan
    moments, kept, skipped = [torch.empty(0, plan.mirrors, plan.moments, *plan.shape, dtype=torch.float16)], [], []
    notes: Counter[str] = Counter()
    for items, indices in work.batches(span):
        pixels = []
        for item, index in zip(items, indices, strict=True):
            if not isinstance(item, str):
                pixels.append(item.pixels)
                notes.update(item.notes)
                kept.append(index)
            elif work.skip:
                log.warning("%s: skipped.", item)
                skipped.append(work.images.names[index])
            else:
                raise UserError(f"{item}: restore it, or set on_error=skip to leave such images out.")
        if pixels:
            moments.append(work.encode(torch.stack(pixels)))
        bar.update(len(indices))
    tensors = {"moments": torch.cat(moments), "labels": torch.from_numpy(work.labels[kept]).long()}
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    return Shard(path.name, len(kept), sha256(path), tuple(skipped), dict(notes))
