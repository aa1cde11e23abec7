"""Fashion-MNIST (Xiao et al. 2017): 70,000 grey pictures of clothing, which Debian packs as dataset-fashion-mnist."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dmp_lightning.data.cache import user_cache
from dmp_lightning.data.idx import read_idx
from dmp_lightning.data.source import Draw


class FashionMNIST:
    """The 60,000 training images, or the 10,000 test images, as a `Source` of pixels in [-1, 1].

    Args:
        folder: of the four IDX files, plain or compressed.
        train: which of the two.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or holds something else.
    """

    sample_shape = (1, 28, 28)
    num_classes = 10

    def __init__(self, folder: str | Path, train: bool) -> None:
        prefix = "train" if train else "t10k"
        images = read_idx(Path(folder) / f"{prefix}-images-idx3-ubyte")
        labels = read_idx(Path(folder) / f"{prefix}-labels-idx1-ubyte")
        if images.shape != (len(labels), *self.sample_shape[1:]):
            raise ValueError(f"{folder} holds {len(labels)} labels and images of shape {images.shape}: restore it.")
        self.pixels = torch.from_numpy(images.copy()).unsqueeze(1)
        self.labels = torch.from_numpy(labels.copy()).long()
        self.fingerprint = f"fashion-mnist-{prefix}-{len(self)}"
        self.cache = user_cache()

    def __len__(self) -> int:
        return len(self.pixels)

    def draw(self, indices: Sequence[int], chances: Iterable[torch.Generator] | None) -> Draw:
        chosen = torch.as_tensor(indices)
        return Draw(self.pixels[chosen].float() / 127.5 - 1, self.labels[chosen])

    def images(self, batch_size: int) -> Iterator[UInt8[Tensor, "B 1 28 28"]]:
        yield from self.pixels.split(batch_size)

    def decode(self, x: Float[Tensor, "B 1 28 28"]) -> Float[Tensor, "B 1 28 28"]:
        return x
