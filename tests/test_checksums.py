"""Flipped bits in the files that we write are found, whatever file it is and wherever they are."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dmp_lightning.data.latents.manifest import Shard, read_shard, write_record
from dmp_lightning.files import read_json, write_json
from dmp_lightning.methods import read_patch, save_patch
from dmp_lightning.metrics.chunks import CHUNK, Chunks
from dmp_lightning.metrics.features import Pixels
from dmp_lightning.metrics.frechet import FrechetDistance
from dmp_lightning.runs.folder import FOLDER, checkpoint_to_resume, latest_in
from dmp_lightning.tensors import load_tensors, save_tensors
from dmp_lightning.training.saving import StreamedCheckpointIO

FLIPS = 60
TENSORS = {"a": torch.arange(40.0).view(5, 8), "b": torch.ones(3, dtype=torch.bfloat16)}
ABOUT = {"method": {"rank": 8, "alpha": 1.5}, "name": "digits"}
IMAGES = torch.randint(256, (30, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CPU = torch.device("cpu")


class Kind(NamedTuple):
    """A kind of file: `write` it, and `read` it, which raises where it is damaged."""

    write: Callable[[Path], object]
    read: Callable[[Path], Any]


def save_checkpoint(path: Path) -> None:
    StreamedCheckpointIO().save_checkpoint({"state_dict": TENSORS, "global_step": 3, "csv_rows": []}, path)


KINDS = {
    "tensors": Kind(lambda path: save_tensors(TENSORS, path), load_tensors),
    "patch": Kind(lambda path: save_patch(TENSORS, path, "0" * 64, ABOUT), read_patch),
    "checkpoint": Kind(save_checkpoint, lambda path: checkpoint_to_resume(path.parent, str(path))),
}
JSON_KINDS = {
    "record": Kind(lambda path: write_json({"numbers": [1, 2.5], "name": "x"}, path), read_json),
    "shard": Kind(lambda path: write_record(Shard("shard-00000.safetensors", 3, "ab" * 32), path), read_shard),
}


def flipped(path: Path) -> Iterator[None]:
    """Flip one bit of the file, another each time."""
    whole, chance = path.read_bytes(), random.Random(0)
    for _ in range(FLIPS):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        yield
    path.write_bytes(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_named_wherever_it_is(tmp_path: Path, kind: str) -> None:
    path, (write, read) = tmp_path / "file", KINDS[kind]
    write(path)
    for _ in flipped(path):
        with pytest.raises(ValueError, match=f"{path}.*(damaged|no checksum)"):
            read(path)
    read(path)


@pytest.mark.parametrize("kind", JSON_KINDS)
def test_a_flipped_bit_in_json_is_named_or_changes_nothing(tmp_path: Path, kind: str) -> None:
    path, (write, read) = tmp_path / "file", JSON_KINDS[kind]
    write(path)
    content, messages = read(path), []
    for _ in flipped(path):
        try:
            assert read(path) == content  # white space may differ
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > FLIPS / 2
    assert all(str(path) in message for message in messages)


def test_equal_tensors_are_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_tensors(TENSORS, tmp_path / name, ABOUT)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_was_measured_is_measured_again(tmp_path: Path) -> None:
    class Counted(Pixels):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            Counted.calls += len(images)
            return super().forward(images)

    def complete() -> dict[str, Tensor]:
        chunks = Chunks(tmp_path / "chunks", len(IMAGES), Counted((1, 2, 2)))
        chunks.complete(lambda part: iter([IMAGES[part.start : part.stop]]), CPU, lambda _: None)
        return chunks.load()

    def distance() -> float:
        metric = FrechetDistance(Counted((1, 2, 2)))
        metric.reference([IMAGES], "images", tmp_path / "statistics")
        metric.update(IMAGES[:20] // 2)
        return metric.compute()

    assert len(IMAGES) < CHUNK
    for make, folder, extra in ((complete, "chunks", 0), (distance, "statistics", 20)):
        expected = make()
        (file,) = (tmp_path / folder).glob("*.safetensors")
        for _ in flipped(file):
            Counted.calls = 0
            found = make()
            assert Counted.calls == len(IMAGES) + extra
            assert torch.equal(found["features"], expected["features"]) if folder == "chunks" else found == expected


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    first, second = (tmp_path / FOLDER / f"step-{step}.ckpt" for step in (3, 6))
    for path in (first, second):
        save_checkpoint(path)
    assert latest_in(tmp_path) == second
    for _ in flipped(second):
        assert latest_in(tmp_path) == first


@pytest.mark.parametrize("cut", [1, 30, 71, 400])
def test_a_checkpoint_that_was_cut_off_is_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / FOLDER / "step-3.ckpt"
    save_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert latest_in(tmp_path) is None


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    torch.save({"global_step": 3, "csv_rows": []}, tmp_path / "old.ckpt")
    assert checkpoint_to_resume(tmp_path, str(tmp_path / "old.ckpt"))
    save_file(TENSORS, tmp_path / "old.safetensors", {"about": '{"base": "ab", "method": {}, "name": "x", "seed": 1}'})
    assert read_patch(tmp_path / "old.safetensors").base == "ab"
    (tmp_path / "old.json").write_text('{"schema": 1}')
    assert read_json(tmp_path / "old.json") == {"schema": 1}


def test_lists_of_numbers_stand_on_one_line_and_texts_stay_as_they_are(tmp_path: Path) -> None:
    content = {"curve": [1, -2.5e-7, None], "text": "[ 1,\n 2 ]", "grid": [[1, 2], [3, 4]], "names": ["a b", "c"]}
    write_json(content, tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == content
    lines = [line.strip() for line in (tmp_path / "a.json").read_text().splitlines()]
    assert {'"curve": [1, -2.5e-07, null],', "[1, 2],", "[3, 4]"} <= set(lines)
