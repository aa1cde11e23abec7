"""Work in chunks: stopped anywhere and started again, it makes what is missing and gives what it would have given."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dmp_lightning.metrics import chunks
from dmp_lightning.metrics.chunks import Chunks
from dmp_lightning.metrics.features import Pixels

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (47, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Maker:
    """Gives the images of a range in batches of three, and stops at image `until`, as Ctrl-C would."""

    def __init__(self, until: int = len(IMAGES)) -> None:
        self.until, self.made = until, 0

    def __call__(self, part: range) -> Iterator[Tensor]:
        for start in range(part.start, part.stop, 3):
            if start >= self.until:
                raise KeyboardInterrupt
            batch = IMAGES[start : min(start + 3, part.stop)]
            self.made += len(batch)
            yield batch


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 10)


def held(folder: Path, maker: Maker, count: int = len(IMAGES), keep_images: bool = False) -> Chunks:
    found = Chunks(folder, count, Pixels((1, 4, 4)), keep_images)
    found.complete(maker, CPU, lambda _: None)
    return found


def expected(count: int = len(IMAGES)) -> Tensor:
    return Pixels((1, 4, 4))(IMAGES[:count])


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        held(tmp_path, Maker(until=25))
    again = Maker()
    assert torch.equal(held(tmp_path, again).load()["features"], expected())
    assert again.made == 27  # two chunks of ten were done
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".safetensors"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.unlink(),
        lambda path: save_file({"features": torch.zeros(3, 16)}, path),
    ],
    ids=["truncated", "missing", "fewer"],
)
def test_a_damaged_chunk_is_made_again_and_no_other(tmp_path: Path, damage) -> None:
    held(tmp_path, Maker())
    damage(tmp_path / "00000020.safetensors")
    again = Maker()
    assert torch.equal(held(tmp_path, again).load()["features"], expected())
    assert again.made == 10


def test_more_images_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    held(tmp_path, Maker(), count=35)
    again = Maker()
    assert torch.equal(held(tmp_path, again).load()["features"], expected())
    assert again.made == 17  # the last chunk was not full


def test_the_npz_is_what_numpy_reads(tmp_path: Path) -> None:
    held(tmp_path / "chunks", Maker())
    again = Maker()
    held(tmp_path / "chunks", again, keep_images=True).write_npz(tmp_path / "samples.npz")
    assert again.made == len(IMAGES)  # the images had not been kept
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as content:
        assert content.files == ["arr_0"]
        found = content["arr_0"]
    assert found.dtype == np.uint8
    assert np.array_equal(found, IMAGES.expand(-1, 3, 4, 4).permute(0, 2, 3, 1).numpy())
