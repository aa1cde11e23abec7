"""A store of texts: what is read is what was encoded, whatever the type, the shards, and where it was cut short."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dmp_lightning.condition import Condition
from dmp_lightning.data.captions.captions import Captions
from dmp_lightning.data.texts import writing
from dmp_lightning.data.texts.manifest import Encoding
from dmp_lightning.data.texts.store import CHANCES, Texts
from dmp_lightning.data.texts.writing import CUT, write_texts
from dmp_lightning.user_error import MissingFileError, UserError

WIDTH, LENGTH = 6, 5
CAPTIONS = Captions(
    ["a.png", "b.png", "c.png", "d/e.png"],
    [["a red apple", "an apple, Größe 3"], [], ["one two three four five six seven"], ['a "blue" heart']],
    "pictures",
)
TEXTS = ["a red apple", "an apple, Größe 3", "one two three four five six seven", 'a "blue" heart']


class Words:
    """Each word, up to `LENGTH`, is a token with numbers of its own; the empty text has one, too."""

    def __init__(self, masked: bool = True, fixed: bool = False, second: bool = False) -> None:
        lengths = {"text": LENGTH, "text2": LENGTH + 2} if second else {"text": LENGTH}
        self.encoding = Encoding("words", None, "0" * 64, "words", lengths, masked, fixed)
        self.calls, self.stop = 0, 10**9

    def states(self, text: str, length: int = LENGTH, width: int = WIDTH) -> Tensor:
        words = text.split()[:length] or [""]
        seeds = [sum(word.encode()) for word in words]
        return torch.stack([torch.randn(width, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def encode(self, texts: Sequence[str]) -> Condition:
        self.calls += 1
        if self.calls > self.stop:
            raise KeyboardInterrupt
        found = dict[str, Tensor]()
        for name, length in self.encoding.lengths.items():
            rows = [self.states(text, length) for text in texts]
            longest = max(map(len, rows)) if self.encoding.masked else length
            states = torch.full((len(texts), longest, WIDTH), 9.0 if self.encoding.masked else 0.0)
            mask = torch.zeros(len(texts), longest, dtype=torch.bool)
            for row, one in enumerate(rows):
                states[row, : len(one)], mask[row, : len(one)] = one, True
            found[name] = states
            if self.encoding.masked:
                found[name.replace("text", "mask")] = mask
        return Condition(pooled=torch.stack([self.states(text).mean(0) for text in texts]), **found)

    def null(self) -> Condition:
        self.calls -= 1
        return self.encode([""])

    def count_cut(self, texts: Sequence[str]) -> int:
        return sum(len(text.split()) > LENGTH for text in texts)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))


def write(out: Path, encoder: Words | None = None, dtype: str = "float32", shard_texts: int = 100) -> Path:
    encoder = encoder or Words()
    size = sum(encoder.encoding.lengths.values()) * WIDTH * 4
    write_texts(CAPTIONS, encoder, out, dtype=dtype, batch_size=2, shard_bytes=shard_texts * size)
    return out


@pytest.mark.parametrize("shard_texts", [1, 2, 100])
def test_each_caption_is_read_as_its_encoder_gave_it(tmp_path: Path, shard_texts: int) -> None:
    store, encoder = Texts(write(tmp_path / "texts", shard_texts=shard_texts)), Words()
    assert len(list((tmp_path / "texts").glob("*.safetensors"))) == {1: 5, 2: 3, 100: 1}[shard_texts]
    assert (len(store), store.pictures, store.captions) == (4, 4, [*TEXTS, ""])
    numbers = [2, 0, 4, 3]
    found = store.read(numbers)
    for row, number in enumerate(numbers):
        states = encoder.states(store.captions[number])
        assert torch.equal(found.text[row, : len(states)], states)
        assert not found.text[row, len(states) :].any()
        assert found.mask[row].tolist() == [place < len(states) for place in range(LENGTH)]
        assert torch.equal(found.pooled[row], states.mean(0))
    assert store.read([3]).text.shape == (1, 3, WIDTH), "padded to the longest of the batch"
    assert torch.equal(store.null.text, encoder.states("")[None])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn"])
def test_numbers_of_all_types_are_read_as_the_type_rounds_them(tmp_path: Path, dtype: str) -> None:
    folder = write(tmp_path / "texts", dtype=dtype)
    for asked in ("float32", "bfloat16"):
        found = Texts(folder, dtype=asked).read([0]).text
        assert found.dtype == getattr(torch, asked)
        rounded = Words().states(TEXTS[0]).to(getattr(torch, dtype)).to(getattr(torch, asked))
        assert torch.equal(found[0], rounded)


def test_states_beyond_the_type_are_refused(tmp_path: Path) -> None:
    encoder = Words()
    encoder.states = lambda text, length=LENGTH: torch.full((1, WIDTH), 500.0)
    with pytest.raises(UserError, match="beyond the range of float8_e4m3fn: set text_dtype"):
        write(tmp_path / "texts", encoder, "float8_e4m3fn")


def test_a_model_without_a_mask_gets_all_positions(tmp_path: Path) -> None:
    masked, unmasked = write(tmp_path / "masked"), write(tmp_path / "unmasked", Words(masked=False))
    for store in (Texts(masked, ["text"]), Texts(unmasked)):
        found = store.read([0, 3])
        assert found.mask is None
        assert torch.equal(found.text, Words(masked=False).encode([TEXTS[0], TEXTS[3]]).text)
        assert store.null.text.shape == (1, LENGTH, WIDTH)
    with pytest.raises(
        UserError, match=r"unmasked, which words encoded, has no mask, as the model takes it: encode the"
    ):
        Texts(unmasked, ["text", "mask"])


def test_a_model_of_another_width_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "texts")
    assert Texts(folder, {"text": [8, WIDTH], "mask": [8]}).read([0]).shapes.keys() == {"text", "mask"}
    with pytest.raises(UserError, match="has a text of width 6, not 4,096 and has a pooled of width 6, not 7, as the"):
        Texts(folder, {"text": [8, 4096], "mask": [8], "pooled": [7]})


def test_a_model_of_fixed_length_gets_two_texts_of_its_lengths(tmp_path: Path) -> None:
    store = Texts(write(tmp_path / "texts", Words(fixed=True, second=True)))
    found = store.read([2, 0])
    assert found.shapes == {"text": [5, 6], "mask": [5], "pooled": [6], "text2": [7, 6], "mask2": [7]}
    assert (found.mask.sum(1).tolist(), found.mask2.sum(1).tolist()) == ([5, 3], [7, 3])
    assert torch.equal(found.text2[0], Words().states(TEXTS[2], 7))


def test_a_caption_is_drawn_evenly_and_the_first_one_taken(tmp_path: Path) -> None:
    store = Texts(write(tmp_path / "texts"))
    assert store.choose(np.arange(4)).tolist() == [0, 4, 2, 3], "a picture without a caption has the empty text"
    drawn = store.choose(np.zeros(CHANCES, int), np.arange(CHANCES))
    assert np.bincount(drawn).tolist() == [CHANCES // 2, CHANCES // 2]
    assert set(store.choose(np.full(CHANCES, 2), np.arange(CHANCES))) == {2}
    assert store.find(['a "blue" heart', "a red apple"]) == [3, 0]
    with pytest.raises(UserError, match="'a dog' is not among the captions of"):
        store.find(["a dog"])


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_an_interrupted_store_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = contents(write(tmp_path / "whole", shard_texts=1))
    for stop in (1, 3):
        out = tmp_path / f"cut-{stop}"
        encoder = Words()
        encoder.stop = stop
        with pytest.raises(KeyboardInterrupt):
            write(out, encoder, shard_texts=1)
        again = Words()
        write(out, again, shard_texts=1)
        assert again.calls == 4 - stop, "finished shards are kept"
        assert contents(out) == whole


def test_a_killed_process_leaves_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real = tmp_path / "texts", writing.save_file

    def dies(tensors: dict[str, Tensor], path: Path) -> None:
        real(tensors, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "save_file", dies)
    with pytest.raises(KeyboardInterrupt):
        write(out)
    monkeypatch.undo()
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingFileError, match="There are no texts at"):
        Texts(out)
    assert contents(write(out)) == contents(write(tmp_path / "whole"))


def test_cut_texts_are_counted(tmp_path: Path) -> None:
    found = write_texts(CAPTIONS, Words(), tmp_path / "texts", dtype="float32", batch_size=3)
    assert sum(shard.notes.get(CUT, 0) for shard in found.shards) == 1


def test_a_store_of_other_texts_or_another_encoder_is_not_continued(tmp_path: Path) -> None:
    folder = write(tmp_path / "texts")
    other = Words()
    other.encoding = replace(other.encoding, layer="hidden")
    with pytest.raises(UserError, match=r"holds texts of another layer \(words, not hidden\)"):
        write(folder, other)
    with pytest.raises(UserError, match="holds texts of another captions"):
        write_texts(replace(CAPTIONS, texts=[["x"]] * 4), Words(), folder, dtype="float32", batch_size=2)
    with pytest.raises(UserError, match=r"another dtype \(float32, not float16\)"):
        write(folder, dtype="float16")


def damage(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)


@pytest.mark.parametrize("name", ["shard-00000.safetensors", "captions.jsonl"])
def test_a_damaged_file_is_found(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "texts")
    damage(folder, name)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        Texts(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda found: found["shards"][0].update(name="../../outside.safetensors"), "cannot be the name of a folder"),
        (lambda found: found["plan"].update(dtype="object"), "dtype 'object' is none of"),
        (lambda found: found["plan"]["widths"].update(text=-1), "no positive whole number"),
        (lambda found: found["plan"]["widths"].update(text=7), "does not hold the texts of its manifest"),
        (lambda found: found["plan"].update(captions=3), "holds 5 texts, not those of its manifest"),
        (lambda found: found["plan"]["encoding"]["lengths"].update(other=5), "it has states text, other"),
        (lambda found: found["plan"].pop("captions_sha256"), "captions_sha256"),
        (lambda found: found.update(format=2), "format 2, not 1"),
    ],
)
def test_a_strangers_manifest_is_checked(tmp_path: Path, change: object, sentence: str) -> None:
    folder = write(tmp_path / "texts")
    content = json.loads((folder / "manifest.json").read_text())
    del content["checksum"]
    change(content)
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=sentence):
        Texts(folder)
