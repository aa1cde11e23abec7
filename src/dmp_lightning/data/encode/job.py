"""From images to a store of latents; and checking one."""

import logging
from collections import Counter
from pathlib import Path

from dmp_lightning.data.encode.images import prepare_images
from dmp_lightning.data.encode.plans import RECORDS
from dmp_lightning.data.encode.shards import Encoder
from dmp_lightning.data.latents.checksums import problems
from dmp_lightning.data.latents.foreign import is_fast_dit, is_lightningdit
from dmp_lightning.data.latents.manifest import MANIFEST, is_manifest, read_manifest
from dmp_lightning.folders import check_free
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)


def encode(
    source: str,
    out: str,
    vae: str,
    *,
    labels: str,
    resolution: int | None,
    shard_mb: int,
    batch_size: int,
    workers: int,
    on_error: str,
) -> None:
    """Encode the images at `source` into the folder `out`, or go on with it.

    Args:
        source: a folder, zip, tar, or folder of tars or IDX files.
        vae: a folder in diffusers' format, or hf://ORGANISATION/NAME.
        labels: `folders`: each folder right below the source is a class. `auto`: the labels that the source gives, or
            the folders where they are ImageNet's synsets; several other folders are asked about. `none`: one class.
        resolution: side of the square images, or None for the VAE's own. shard_mb: size of a shard, at most.
        on_error: whether to stop at an unreadable image, or to leave it out.

    Raises:
        MissingFileError: there are no images, or no VAE.
        UserError: an image cannot be read; `source` holds latents, or `out` other ones.
    """
    check_free(Path(out), is_store, "choose a new or an empty folder with out=....")
    folder = Path(source)
    if is_fast_dit(folder) or is_lightningdit(folder):
        raise UserError(f"{source} holds latents, which are read as they are: set data.train.folder to it.")
    work = prepare_images(folder, vae, labels, resolution, shard_mb)
    if Encoder(work, Path(out), batch_size, workers, skip=on_error == "skip").run():
        manifest = read_manifest(Path(out) / MANIFEST)
        skipped = work.plan.images - manifest.count
        log.info("%s: %s latents in %s shards.", out, f"{manifest.count:,}", len(manifest.shards))
        done = sum((Counter(shard.notes) for shard in manifest.shards), Counter())
        if done:
            told = ", ".join(f"{count:,} {note}" for note, count in sorted(done.items()))
            log.info("Converted: %s.", told)
        if skipped:
            log.warning("%s images could not be read; %s names them.", f"{skipped:,}", Path(out) / MANIFEST)
    else:
        log.info("Other processes are at the rest of the shards; the last of them completes %s.", out)


def is_store(folder: Path) -> bool:
    """Whether a folder holds latents of ours, or was begun to be filled with them."""
    return (folder / RECORDS).is_dir() or is_manifest(folder / MANIFEST)


def verify(folder: str) -> None:
    """Read a whole store, and compare its checksums and counts with its manifest.

    Raises:
        MissingFileError: it has no manifest: it is no store, or not complete.
        UserError: with a sentence for each shard that is missing or damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise MissingFileError(f"There is no {path}: name the folder of a store that is complete.")
    manifest = read_manifest(path)
    found = [str(problem) for problem in problems(Path(folder), manifest.shards)]
    counted = sum(shard.count for shard in manifest.shards)
    if counted != manifest.count:
        found.append(f"{path} counts {manifest.count} latents, its shards {counted}: encode again.")
    if found:
        raise UserError("\n       ".join(found))
    log.info("%s is whole: %s latents in %s shards.", folder, f"{manifest.count:,}", len(manifest.shards))
