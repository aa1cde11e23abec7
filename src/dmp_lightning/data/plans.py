"""What is being encoded into a store, kept in its folder until it is done."""

from pathlib import Path

from filelock import FileLock, Timeout

from dmp_lightning.data.manifest import MANIFEST, Plan, read_plan, read_shard, write_record

RECORDS = ".encoding"
"""Folder of a store with the plan, and a record and a lock for each shard."""


def record_path(out: Path, number: int) -> Path:
    """Of a shard that is written and whole."""
    return out / RECORDS / f"shard-{number:05d}.json"


def plan_path(out: Path) -> Path:
    """Of what is being encoded in a store."""
    return out / RECORDS / "plan.json"


def write_plan(plan: Plan, out: Path) -> None:
    """Write the plan into a new store, or make sure that it is the one that was begun.

    A plan of which no latent is there takes nothing away from another, which takes its place.

    Raises:
        ValueError: it is another, and has latents, or is being carried out.
    """
    remedy = "choose another folder with out=, or remove it"
    with changing_plan(out):
        if plan_path(out).exists():
            begun = read_plan(plan_path(out))
            different = begun.differences(plan)
            if not different:
                return
            records = list((out / RECORDS).glob("shard-*.json"))
            if any(read_shard(record).count for record in records):
                if begun.background is None and plan.background is not None:
                    raise ValueError(
                        f"{out} was begun by an earlier version, which read pictures with alpha, of 16 bits or turned "
                        f"by EXIF otherwise: {remedy}."
                    )
                raise ValueError(f"{out} holds latents of another {', '.join(different)}: {remedy}.")
            if _others_at_work(out):
                raise ValueError(f"Another process encodes into {out} with another {', '.join(different)}: {remedy}.")
            for record in records:
                record.unlink()
        elif (out / MANIFEST).exists():
            raise ValueError(f"{out} holds latents already: {remedy}.")
        write_record(plan, plan_path(out))


def changing_plan(out: Path) -> FileLock:
    """Held while a plan is replaced, or a shard noted as one of it."""
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
