"""Where images come from: a folder, a zip, tars of WebDataset, IDX files; which it is, is seen by what is there."""

import tarfile
import zipfile
from pathlib import Path

from dmp_lightning.data.image_folder import FolderImages
from dmp_lightning.data.image_idx import IdxImages
from dmp_lightning.data.image_sources import Images
from dmp_lightning.data.image_tar import TarImages
from dmp_lightning.data.image_zip import ZipImages


def open_images(source: Path) -> Images:
    """The images at `source`: a folder, a zip, a tar, or a folder of tars or IDX files (torchvision's too).

    Raises:
        FileNotFoundError: there is no such file, or no image in it.
        ValueError: an archive is damaged.
    """
    if not source.exists():
        raise FileNotFoundError(f"There is nothing at {source}: set source to where the images are.")
    try:
        images = _open(source)
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise ValueError(f"{source} holds a damaged archive ({error}): restore it.") from error
    if not len(images):
        raise FileNotFoundError(f"There are no images in {source}: set source to where they are.")
    return images


def _open(source: Path) -> Images:
    if source.is_file():
        return TarImages([source]) if tarfile.is_tarfile(source) else ZipImages(source)
    for folder in (source, source / "raw", source / "FashionMNIST" / "raw"):
        if any(folder.glob("train-images-idx3-ubyte*")):
            return IdxImages(folder)
    archives = sorted(source.glob("*.tar"))
    return TarImages(archives) if archives else FolderImages(source)
