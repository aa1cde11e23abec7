"""Encoding images and captions into a store of latents and texts, and checking one."""

import logging
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from dmp_lightning.data.captions.read import find_captions
from dmp_lightning.data.encode.images import prepare_images
from dmp_lightning.data.encode.plans import RECORDS
from dmp_lightning.data.encode.shards import fill_store
from dmp_lightning.data.encode.texts import encode_texts, free
from dmp_lightning.data.images.open import open_images
from dmp_lightning.data.images.source import Images
from dmp_lightning.data.latents.checksums import problems
from dmp_lightning.data.latents.fast_dit import features_in
from dmp_lightning.data.latents.lightningdit import is_lightningdit
from dmp_lightning.data.latents.manifest import MANIFEST, Manifest, is_manifest, read_manifest
from dmp_lightning.data.texts import manifest as texts
from dmp_lightning.folders import check_free
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)


def encode(
    source: str,
    out: str,
    vae: str | None,
    *,
    on_error: str,
    text_encoder: str | None = None,
    captions: str = "auto",
    caption_key: str | None = None,
    text_length: int | None = None,
    text_dtype: str = "bfloat16",
    **options: Any,
) -> None:
    """Encode the images at `source`, and their captions, into the folder `out`, or continue there.

    Args:
        source: a folder, zip, tar, or folder of tars or IDX files.
        vae: a folder in diffusers' format, or hf://ORGANISATION/NAME; None for captions alone.
        on_error: `fail` at an unreadable image, or `skip` it.
        text_encoder: see `open_encoder`; None without captions. captions, caption_key: where they are, see
            `find_captions`. text_length: most tokens of one. text_dtype: of the stored numbers.
        options: `labels`: `folders`: each folder right below the source is a class. `auto`: the labels that the source
            gives, or the folders if they are ImageNet's synsets; for other folders, an error asks. `none`: one class.
            `resolution`: side of the square images, or None for the VAE's own. `shard_mb`: size of a shard, at most.
            `batch_size`, `workers`: see `Work`.

    Raises:
        MissingFileError: there are no images, captions, VAE or text encoder.
        UserError: an image cannot be read; `source` holds latents, or `out` other ones.
    """
    check_free(Path(out), is_store, "choose a new or an empty folder with out=....")
    if vae is None and text_encoder is None:
        raise UserError("Set vae to encode pictures, text_encoder to encode their captions, or both.")
    if features_in(Path(source)) or is_lightningdit(Path(source)):
        raise UserError(f"{source} already holds latents: set data.train.folder to it instead of encoding.")
    images = open_images(Path(source), captioned=text_encoder is not None)
    found = None if text_encoder is None else find_captions(images, Path(source), captions, caption_key)
    if vae is not None:
        _encode_images(images, Path(source), Path(out), vae, skip=on_error == "skip", **options)
        free()
    if found is not None:
        assert text_encoder is not None
        how = {"text_length": text_length, "text_dtype": text_dtype, "batch_size": options["batch_size"]}
        encode_texts(*found, Path(out), text_encoder, **how)


def _encode_images(images: Images, source: Path, out: Path, vae: str, **options: Any) -> None:
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # readers mostly wait for the disk
    work = prepare_images(images, source, vae, **options)
    if not fill_store(work, out):
        log.info("Other processes are still encoding; the last one completes %s.", out)
        return
    manifest = read_manifest(out / MANIFEST)
    skipped = work.plan.images - manifest.count
    log.info("%s: %s.", out, _size(manifest))
    converted = sum((Counter(shard.notes) for shard in manifest.shards), Counter())
    if converted:
        log.info("Converted: %s.", ", ".join(f"{count:,} {note}" for note, count in sorted(converted.items())))
    if skipped:
        log.warning("%s images could not be read; %s names them.", f"{skipped:,}", out / MANIFEST)


def is_store(folder: Path) -> bool:
    """Whether a folder holds latents or texts of ours, complete or not."""
    return any((place / RECORDS).is_dir() or is_manifest(place / MANIFEST) for place in (folder, folder / texts.FOLDER))


def verify(folder: str) -> None:
    """Read a whole store of latents or texts or both, and compare its checksums and counts with its manifests.

    Raises:
        MissingFileError: it has no manifest, so it is no store, or not complete.
        UserError: files are missing or damaged; there is a sentence for each.
    """
    path, of_texts = Path(folder) / MANIFEST, Path(folder) / texts.FOLDER / MANIFEST
    if not path.is_file() and not of_texts.is_file():
        raise MissingFileError(f"There is no {path}: verify= needs the folder of a complete store.")
    found, sizes = [], []
    if path.is_file():
        manifest = read_manifest(path)
        found += [str(problem) for problem in problems(Path(folder), manifest.shards)]
        counted = sum(shard.count for shard in manifest.shards)
        if counted != manifest.count:
            found.append(f"{path} counts {manifest.count} latents, but its shards hold {counted}: encode again.")
        sizes.append(_size(manifest))
    if of_texts.is_file():
        about = texts.read_manifest(of_texts)
        found += [str(problem) for problem in problems(of_texts.parent, texts.files_of(about))]
        sizes.append(f"{about.plan.captions:,} captions")
    if found:
        raise UserError("\n       ".join(found))
    log.info("%s is complete and undamaged: %s.", folder, " and ".join(sizes))


def _size(manifest: Manifest) -> str:
    shards = len(manifest.shards)
    return f"{manifest.count:,} latents in {f'{shards} shards' if shards > 1 else 'one shard'}"
