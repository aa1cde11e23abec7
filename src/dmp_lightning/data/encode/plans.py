"""The plan of a store that is being encoded, and the records of its finished shards."""

from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from dmp_lightning.data.latents.held_out import draw_held_out
from dmp_lightning.data.latents.manifest import (
    MANIFEST,
    Manifest,
    Plan,
    Shard,
    differences,
    read_manifest,
    read_plan,
    read_shard,
    write_record,
)
from dmp_lightning.data.latents.parts import read_tensors
from dmp_lightning.files import UNFINISHED
from dmp_lightning.user_error import UserError

RECORDS = ".encoding"
"""Folder of a store with the plan, and a record and a lock for each shard."""


def shards_of(out: Path, count: int, size: int) -> list[tuple[Path, range]]:
    """Each shard's record, which is there once the shard is whole, and the numbers of its images, of `count`."""
    numbers, starts = range(count), range(0, count, size)
    return [(out / RECORDS / f"shard-{n:05d}.json", numbers[start : start + size]) for n, start in enumerate(starts)]


def plan_path(out: Path) -> Path:
    return out / RECORDS / "plan.json"


def write_plan(plan: Plan, out: Path) -> None:
    """Write the plan into a new store, or make sure that it is the store's own.

    A plan without any latent is replaced, unless a process is at work on it.

    Raises:
        UserError: the store has another plan, with latents or a process at work.
    """
    remedy = "choose another folder with out=, or remove it"
    with changing_plan(out):
        if plan_path(out).exists():
            begun = read_plan(plan_path(out))
            different = differences(begun, plan)
            if not different:
                return
            records = list((out / RECORDS).glob("shard-*.json"))
            if any(read_shard(record).count for record in records):
                if begun.background is None and plan.background is not None:
                    raise UserError(
                        f"{out} was started by an earlier version, which read transparent, 16-bit and EXIF-rotated "
                        f"pictures differently: {remedy}."
                    )
                raise UserError(f"{out} holds latents of another {', '.join(different)}: {remedy}.")
            if _others_at_work(out):
                raise UserError(
                    f"Another process is encoding into {out} with another {', '.join(different)}: {remedy}."
                )
            for record in records:
                record.unlink()
        elif (out / MANIFEST).exists():
            raise UserError(f"{out} already holds latents: {remedy}.")
        write_record(plan, plan_path(out))


def changing_plan(out: Path) -> FileLock:
    """A lock for replacing the plan, or recording a shard of it."""
    (out / RECORDS).mkdir(parents=True, exist_ok=True)
    return FileLock(out / RECORDS / "plan.lock")


def _others_at_work(out: Path) -> bool:
    for lock in (out / RECORDS).glob("shard-*.lock"):
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            return True
    return False


def finish(plan: Plan, out: Path) -> bool:
    """Write the manifest if all shards are there. Any process may do so: they write the same.

    A complete store keeps the manifest that it has, and with it its held-out images. Returns whether it is complete.

    Raises:
        UserError: no image could be read.
    """
    records = [record for record, _ in shards_of(out, plan.images, plan.shard_images)]
    if not all(record.exists() for record in records):
        return False
    shards = [read_shard(record) for record in records]
    count = sum(shard.count for shard in shards)
    if not count:
        raise UserError("None of the images could be read: set source to where they are.")
    kept = tuple(shard for shard in shards if shard.count)
    manifest = Manifest(plan, count, kept, None if plan.held_out is not None else _draw(out, kept))
    with FileLock(out / RECORDS / "manifest.lock"):
        clear(out / MANIFEST)
        if not _is_readable(out / MANIFEST):
            write_record(manifest, out / MANIFEST)
    return True


def _draw(out: Path, shards: Sequence[Shard]) -> tuple[int, ...]:
    labels = torch.cat([read_tensors(out / shard.name, ["labels"])[0] for shard in shards])
    return tuple(draw_held_out(labels.numpy()).tolist())


def _is_readable(path: Path) -> bool:
    try:
        return path.exists() and bool(read_manifest(path))
    except ValueError:
        return False


def clear(path: Path) -> None:
    """Remove the temporary files of `path` that a killed process left; no other process may be writing it."""
    for left in path.parent.glob(f"{path.name}.*{UNFINISHED}"):
        left.unlink()
