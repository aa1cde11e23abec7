"""Stores in object storage, fetched shard by shard into the user's cache and read from there."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from filelock import FileLock
from tqdm import tqdm

from dmp_lightning.data.latents.checksums import sha256
from dmp_lightning.data.latents.manifest import MANIFEST, Shard, read_manifest
from dmp_lightning.files import replacing
from dmp_lightning.folders import user_cache
from dmp_lightning.user_error import MissingFileError, UserError


def is_remote(folder: str) -> bool:
    """Whether `folder` is a URL (s3://, gs://, hf://), not a path."""
    return "://" in folder


def _shards(manifest: Path) -> Sequence[Shard]:
    return read_manifest(manifest).shards


def fetch_store(url: str, listed: Callable[[Path], Sequence[Shard]] = _shards) -> Path:
    """A local copy of the store at `url`; only shards that are not there yet are fetched.

    Args:
        listed: the files that a manifest names.

    Each shard gets its name only when its checksum is right. The processes of a host wait for one of them to fetch.

    Raises:
        MissingFileError: there is no store.
        UserError: the storage cannot be reached, or a shard arrives damaged.
    """
    folder = user_cache() / "stores" / hashlib.sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        try:
            system, root = fsspec.core.url_to_fs(url)
            _fetch(system, root, MANIFEST, folder, None)
            shards = listed(folder / MANIFEST)
            missing = [shard for shard in shards if not _is_there(folder, shard)]
            for shard in tqdm(missing, "Fetching", unit="shard", disable=not missing):
                _fetch(system, root, shard.name, folder, shard.sha256)
        except (ValueError, OSError):
            raise
        except Exception as error:  # clients of storage raise many kinds
            raise UserError(f"{url} cannot be read ({error}): check the address, and your access to it.") from error
    return folder


def _is_there(folder: Path, shard: Shard) -> bool:
    """Whether a shard is there, of this store: shards are only numbered, and another store may have been at the URL."""
    path, note = folder / shard.name, _note(folder, shard.name)
    return path.is_file() and note.is_file() and note.read_text() == shard.sha256


def _fetch(system: Any, root: str, name: str, folder: Path, checksum: str | None) -> None:
    source = str(PurePosixPath(root) / name)
    if not system.exists(source):
        raise MissingFileError(f"There is no {source} in the storage: encode the images, and upload the whole store.")
    with replacing(folder / name) as temporary:
        try:
            system.get_file(source, str(temporary))
        except OSError as error:
            raise UserError(f"{source} cannot be fetched ({error}): try again.") from error
        if checksum not in (None, sha256(temporary)):
            raise UserError(f"{source} arrived damaged (its checksum does not match): upload it again.")
    if checksum:
        with replacing(_note(folder, name)) as temporary:
            temporary.write_text(checksum)


def _note(folder: Path, name: str) -> Path:
    return folder / f"{name}.sha256"
