"""Fashion-MNIST's files, against torchvision's own reader of them, and what may be wrong with them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets.mnist import read_image_file, read_label_file

from dmp_lightning.data.fashion_mnist import FashionMNIST
from dmp_lightning.data.images.idx import read_idx
from dmp_lightning.data.pixels import all_images


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(header + array.tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 30), ("t10k", 7)):
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", generator.integers(0, 10, count, np.uint8))
    return tmp_path


@pytest.mark.parametrize(("train", "prefix"), [(True, "train"), (False, "t10k")])
def test_it_reads_what_torchvision_reads(folder: Path, train: bool, prefix: str) -> None:
    images = read_image_file(str(folder / f"{prefix}-images-idx3-ubyte"))
    labels = read_label_file(str(folder / f"{prefix}-labels-idx1-ubyte"))
    source = FashionMNIST(folder, train)
    drawn = source.read(range(len(source)))
    torch.testing.assert_close(drawn.x, images[:, None] / 127.5 - 1)
    assert torch.equal(drawn.condition.label, labels)
    assert torch.equal(torch.cat(list(all_images(source, 4)))[:, 0], images)


def test_compressed_files_are_the_same(folder: Path) -> None:
    plain = FashionMNIST(folder, True)
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert torch.equal(FashionMNIST(folder, True).pixels, plain.pixels)


WHOLE = bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3])
BROKEN = {
    "empty": b"",
    "shorter than it says": WHOLE[:-1],
    "longer than it says": WHOLE + b"4",
    "without sizes": WHOLE[:5],
    "floats": bytes([0, 0, 13, *WHOLE[3:]]),
    "a page of text": b"<html>not found</html>",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(ValueError, match=r"labels (holds|is not an IDX).*: restore it"):
        read_idx(tmp_path / "labels")


@pytest.mark.parametrize("damage", [lambda whole: whole[:-9], lambda whole: whole[:12] + b"no" + whole[14:]])
def test_a_damaged_compressed_file_is_named(tmp_path: Path, damage) -> None:
    (tmp_path / "labels.gz").write_bytes(damage(gzip.compress(WHOLE)))
    with pytest.raises(ValueError, match=r"labels.gz is damaged .*: restore it"):
        read_idx(tmp_path / "labels")


def test_a_missing_file_and_labels_of_other_images_are_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no .*train-images-idx3-ubyte, nor"):
        FashionMNIST(folder / "elsewhere", True)
    write_idx(folder / "t10k-labels-idx1-ubyte", np.zeros(6, np.uint8))
    with pytest.raises(ValueError, match=r"6 labels and images of shape \(7, 28, 28\)"):
        FashionMNIST(folder, False)
