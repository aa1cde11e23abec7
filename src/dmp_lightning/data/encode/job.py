"""Encoding images into a store of latents, and checking one."""

import logging
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from dmp_lightning.data.encode.images import prepare_images
from dmp_lightning.data.encode.plans import RECORDS
from dmp_lightning.data.encode.shards import fill_store
from dmp_lightning.data.latents.checksums import problems
from dmp_lightning.data.latents.fast_dit import features_in
from dmp_lightning.data.latents.lightningdit import is_lightningdit
from dmp_lightning.data.latents.manifest import MANIFEST, Manifest, is_manifest, read_manifest
from dmp_lightning.folders import check_free
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)


def encode(source: str, out: str, vae: str, *, on_error: str, **options: Any) -> None:
    """Encode the images at `source` into the folder `out`, or continue there.

    Args:
        source: a folder, zip, tar, or folder of tars or IDX files.
        vae: a folder in diffusers' format, or hf://ORGANISATION/NAME.
        on_error: `fail` at an unreadable image, or `skip` it.
        options: `labels`: `folders`: each folder right below the source is a class. `auto`: the labels that the source
            gives, or the folders if they are ImageNet's synsets; for other folders, an error asks. `none`: one class.
            `resolution`: side of the square images, or None for the VAE's own. `shard_mb`: size of a shard, at most.
            `batch_size`, `workers`: see `Work`.

    Raises:
        MissingFileError: there are no images, or no VAE.
        UserError: an image cannot be read; `source` holds latents, or `out` other ones.
    """
    check_free(Path(out), is_store, "choose a new or an empty folder with out=....")
    if features_in(Path(source)) or is_lightningdit(Path(source)):
        raise UserError(f"{source} already holds latents: set data.train.folder to it instead of encoding.")
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # readers mostly wait for the disk
    work = prepare_images(Path(source), vae, skip=on_error == "skip", **options)
    if not fill_store(work, Path(out)):
        log.info("Other processes are still encoding; the last one completes %s.", out)
        return
    manifest = read_manifest(Path(out) / MANIFEST)
    skipped = work.plan.images - manifest.count
    log.info("%s: %s.", out, _size(manifest))
    converted = sum((Counter(shard.notes) for shard in manifest.shards), Counter())
    if converted:
        log.info("Converted: %s.", ", ".join(f"{count:,} {note}" for note, count in sorted(converted.items())))
    if skipped:
        log.warning("%s images could not be read; %s names them.", f"{skipped:,}", Path(out) / MANIFEST)


def is_store(folder: Path) -> bool:
    """Whether a folder holds latents of ours, complete or not."""
    return (folder / RECORDS).is_dir() or is_manifest(folder / MANIFEST)


def verify(folder: str) -> None:
    """Read a whole store, and compare its checksums and counts with its manifest.

    Raises:
        MissingFileError: it has no manifest, so it is no store, or not complete.
        UserError: shards are missing or damaged; there is a sentence for each.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise MissingFileError(f"There is no {path}: verify= needs the folder of a complete store.")
    manifest = read_manifest(path)
    found = [str(problem) for problem in problems(Path(folder), manifest.shards)]
    counted = sum(shard.count for shard in manifest.shards)
    if counted != manifest.count:
        found.append(f"{path} counts {manifest.count} latents, but its shards hold {counted}: encode again.")
    if found:
        raise UserError("\n       ".join(found))
    log.info("%s is complete and undamaged: %s.", folder, _size(manifest))


def _size(manifest: Manifest) -> str:
    shards = len(manifest.shards)
    return f"{manifest.count:,} latents in {f'{shards} shards' if shards > 1 else 'one shard'}"
