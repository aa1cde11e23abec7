"""Outputs of an extractor for many images, kept in chunks on disk, so that stopped work can be continued."""

import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, distributed

from dmp_lightning.files import DamagedError, replacing
from dmp_lightning.metrics.features import Features, Images
from dmp_lightning.tensors import load_tensors, save_tensors
from dmp_lightning.user_error import UserError

log = logging.getLogger(__name__)

CHUNK = 500  # images of a file

Make = Callable[[range], Iterator[Images]]


class Chunks:
    """Outputs of `features` for `count` images in files of `CHUNK`, in a folder that only they use.

    All processes of a group share the work. With `keep_images` the images are kept as well.
    """

    def __init__(self, folder: Path, count: int, features: Features, keep_images: bool = False) -> None:
        self.folder, self.count, self.features, self.keep_images = folder, count, features, keep_images
        self.parts = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]

    def complete(self, make: Make, device: torch.device, advance: Callable[[int], None]) -> None:
        """Make the chunks that are missing, and wait until all are there.

        Args:
            make: gives the images of some numbers, in batches. advance: called with the number of images of each chunk.
        """
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
        for part in self.parts[rank::world]:
            if self._read(part) is None:
                self._make(part, make, device)
            advance(len(part))
        if world > 1:
            distributed.barrier()

    def load(self) -> dict[str, Tensor]:
        """The outputs of all images by name, without the images."""
        chunks = [{name: value for name, value in self._known(part).items() if name != "images"} for part in self.parts]
        return {name: torch.cat([chunk[name] for chunk in chunks]) for name in (chunks[0] if chunks else {})}

    def write_npz(self, path: Path) -> None:
        """Write the images as the ADM evaluator reads them: `arr_0` (N, H, W, 3), uint8."""
        height, width = self._images(self.parts[0]).shape[1:3]
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, height, width, 3)}
        with (
            replacing(path) as temporary,
            zipfile.ZipFile(temporary, "w") as archive,
            archive.open("arr_0.npy", "w", force_zip64=True) as file,
        ):
            np.lib.format.write_array_header_1_0(file, header)
            for part in self.parts:
                file.write(self._images(part).tobytes())

    def _images(self, part: range) -> UInt8[np.ndarray, "B H W 3"]:
        images = self._known(part)["images"].permute(0, 2, 3, 1)
        return np.ascontiguousarray(images.expand(*images.shape[:3], 3).numpy())

    @torch.no_grad()
    def _make(self, part: range, make: Make, device: torch.device) -> None:
        batches: list[dict[str, Tensor]] = []
        for images in make(part):
            outputs = self.features.outputs(images.to(device))
            kept = {"images": images} if self.keep_images else {}
            batches.append({name: value.cpu() for name, value in (outputs | kept).items()})
        tensors = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        save_tensors(tensors, self._path(part))

    def _read(self, part: range) -> dict[str, Tensor] | None:
        """A chunk; None if it is missing, damaged, of fewer images, or lacks images that are to be kept."""
        try:
            found = load_tensors(self._path(part)) if self._path(part).is_file() else {}
        except DamagedError as error:
            log.warning("%s: measuring these images again.", error)
            return None
        whole = "features" in found and len(found["features"]) == len(part)
        return found if whole and ("images" in found or not self.keep_images) else None

    def _known(self, part: range) -> dict[str, Tensor]:
        found = self._read(part)
        if found is None:
            raise UserError(f"{self._path(part)} was removed or damaged during the run: start again; the rest is kept.")
        return found

    def _path(self, part: range) -> Path:
        return self.folder / f"{part.start:08d}.safetensors"
