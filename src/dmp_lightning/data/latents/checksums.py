"""Checksums of shards. They are compared once, and again after a change, so that no run trains on damaged shards."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from dmp_lightning.data.latents.manifest import Shard
from dmp_lightning.files import DamagedError, replacing
from dmp_lightning.folders import user_cache
from dmp_lightning.user_error import MissingFileError


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_shards(folder: Path, shards: Sequence[Shard]) -> None:
    """Make sure that all shards are as they were written.

    A file that was found whole is not read again while its size, time and inode stay the same: the user's cache has
    notes of that. The processes of a run wait for one of them to do it.

    Raises:
        MissingFileError, DamagedError: the first that is missing or damaged.
    """
    notes = user_cache() / "checksums" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.json"
    notes.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(notes.with_suffix(".lock")):
        known = _read_notes(notes)
        new = {shard.name: _note(folder / shard.name, shard.sha256) for shard in shards}
        changed = [shard for shard in shards if known.get(shard.name) != new[shard.name]]
        for problem in problems(folder, changed):
            raise problem
        if changed:
            with replacing(notes) as temporary:
                temporary.write_text(json.dumps(new))


def problems(folder: Path, shards: Sequence[Shard]) -> Iterable[Exception]:
    """An error for each shard that is missing or damaged; large stores show their progress."""

    def problem(shard: Shard) -> Exception | None:
        path = folder / shard.name
        if not path.is_file():
            return MissingFileError(f"The manifest names {path}, which is missing: restore it, or encode again.")
        if sha256(path) != shard.sha256:
            return DamagedError(f"{path} is damaged (its checksum does not match): restore it, or encode again.")
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = tqdm(pool.map(problem, shards), "Checking", len(shards), unit="shard", leave=False, delay=2)
        yield from (one for one in found if one is not None)


def _note(path: Path, checksum: str) -> list:
    if not path.is_file():
        return []
    about = path.stat()
    return [checksum, about.st_size, about.st_mtime_ns, about.st_ino]


def _read_notes(path: Path) -> dict[str, list]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
