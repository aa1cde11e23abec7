"""Opening a source of images: a folder, a zip, tars of WebDataset, or IDX files. Its content decides which it is."""

import logging
import tarfile
import zipfile
from pathlib import Path

from dmp_lightning.data.images.folder import FolderImages
from dmp_lightning.data.images.idx import IdxImages
from dmp_lightning.data.images.source import Images
from dmp_lightning.data.images.tar import TarImages
from dmp_lightning.data.images.zip import ZipImages
from dmp_lightning.data.pictures.read import TEXTS
from dmp_lightning.user_error import MissingFileError, UserError

log = logging.getLogger(__name__)

COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
"""How files of gzip, bzip2, xz and zstd begin."""


def open_images(source: Path, key: str = "source", captioned: bool = False) -> Images:
    """The images at `source`: a folder, a zip, a tar, or a folder of tars or IDX files (torchvision's too).

    One line of the log says what else lies there.

    Args:
        key: the setting that names the source, for messages. captioned: whether captions are read, so that files which
            may hold some are not left out.

    Raises:
        MissingFileError: there is no such file, or no image in it.
        UserError: an archive is damaged or compressed, or there are images beside tars.
    """
    if not source.exists():
        raise MissingFileError(f"There is nothing at {source}: set {key} to where the images are.")
    try:
        images = _open(source)
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise UserError(f"{source} holds a damaged archive ({error}): restore it.") from error
    for suffix in TEXTS if captioned else ():
        images.left_out.pop(suffix, None)
    left_out = f"left out: {images.left_out}" if +images.left_out else ""
    if not len(images):
        also = f" ({left_out})" if left_out else ""
        raise MissingFileError(f"There are no images in {source}{also}: set {key} to where they are.")
    if left_out:
        log.warning("%s: %s.", source, left_out)
    return images


def _open(source: Path) -> Images:
    if source.is_file():
        _refuse_compressed(source)
        return TarImages([source]) if tarfile.is_tarfile(source) else ZipImages(source)
    for folder in (source, source / "raw", source / "FashionMNIST" / "raw"):
        if any(folder.glob("train-images-idx3-ubyte*")):
            return IdxImages(folder)
    archives, images = sorted(source.glob("*.tar")), FolderImages(source)
    if not archives:
        return images
    if len(images):
        raise UserError(
            f"{source} holds images ({len(images):,}, the first {images.names[0]}) and tars ({len(archives):,}, the "
            f"first {archives[0].name}): remove one or the other."
        )
    for archive in archives:
        _refuse_compressed(archive)
    tars = TarImages(archives)
    images.left_out["archive"] -= len(archives)
    tars.left_out.update(images.left_out)
    return tars


def _refuse_compressed(archive: Path) -> None:
    with archive.open("rb") as file:
        if file.read(6).startswith(COMPRESSED):
            raise UserError(f"{archive} is compressed, but images are read in place: decompress it first.")
