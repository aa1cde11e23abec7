"""Pictures and captions encoded by the command's own function, and read together: each picture under its captions."""

import json
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dmp_lightning.condition import Condition
from dmp_lightning.data.captioned import Captioned, captioned_latents
from dmp_lightning.data.encode.job import encode, verify
from dmp_lightning.data.latents.source import Latents
from dmp_lightning.data.pixels import PixelSource
from dmp_lightning.data.stream import DiffusionData
from dmp_lightning.data.texts.open import open_encoder
from dmp_lightning.data.texts.store import Texts
from dmp_lightning.user_error import MissingFileError, UserError
from tests.data.test_encoding import make_vae
from tests.data.test_text_encoders import save_bert

COUNT = 30
WORDS = ["one", "two", "three", "red", "blue", "apple", "heart", "system"]
OPTIONS = {"labels": "none", "resolution": 16, "shard_mb": 1, "batch_size": 4, "workers": 0, "on_error": "fail"}


def captions_of(number: int) -> list[str]:
    """None, one or two captions of a picture; all differ."""
    one, two = WORDS[number % 8], WORDS[number // 8]
    texts = [f"a {one} {two}{' .' * (number % 3)}", f"{two} {one}"]
    return texts[: number % 3]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`images` with captions, `vae`, `bert`, and `store`, encoded in one go."""
    place = tmp_path_factory.mktemp("captioned")
    make_vae(place / "vae", 3)
    save_bert(place / "bert")
    draw_pictures(place / "images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMP_CACHE", str(place / "cache"))
        encode_both(place, place / "store")
    return place


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))


def draw_pictures(folder: Path) -> None:
    folder.mkdir()
    chance = np.random.default_rng(0)
    lines = []
    for number in range(COUNT):
        Image.fromarray(chance.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{number:02d}.png")
        lines.append(json.dumps({"file_name": f"{number:02d}.png", "text": captions_of(number)}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))


def encode_both(place: Path, out: Path, images: Path | None = None, **options: Any) -> None:
    texts = {"text_encoder": str(place / "bert"), "text_dtype": "float32", "vae": str(place / "vae")}
    encode(str(images or place / "images"), str(out), **OPTIONS | texts | options)


def pooled(place: Path, texts: list[str]) -> torch.Tensor:
    encoder = open_encoder(str(place / "bert"), length=None, dtype="float32", device="cpu")
    with torch.inference_mode():
        return torch.cat([encoder.encode([text]).pooled for text in texts])


def number_of(condition: Condition, known: torch.Tensor) -> list[int]:
    """Which of the known texts each row is."""
    distance = (condition.pooled[:, None] - known).norm(dim=-1)
    assert (distance.amin(1) < 1e-4).all()
    return distance.argmin(1).tolist()


def source(place: Path, train: bool = True, **options: Any) -> Captioned:
    return captioned_latents(str(place / "store"), train, str(place / "vae"), **options)


def test_held_out_samples_have_their_first_caption(place: Path) -> None:
    found, latents = source(place, train=False), Latents(place / "store", False, place / "vae")
    first = [(captions_of(number) or [""])[0] for number in latents.indices]
    stored = found.read(range(len(found)))
    assert torch.equal(stored.x, latents.read(range(len(latents))).x)
    assert number_of(stored.condition, pooled(place, first)) == [first.index(text) for text in first]
    assert torch.equal(found.decode(found.draw(stored.x)), latents.decode(latents.draw(stored.x)))
    assert (found.vae_sha256, found.sample_shape) == (latents.vae_sha256, (4, 8, 8))


def test_what_is_sampled_is_said(place: Path) -> None:
    train, held_out = source(place, conditions=2), source(place, train=False, conditions=2)
    captioned = [captions_of(number)[0] for number in held_out.pictures if captions_of(number)]
    assert train.shown == held_out.shown == captioned[:2]
    chosen = source(place, conditions=["one three", "a two one ."])
    assert number_of(chosen.conditions, pooled(place, chosen.shown)) == [0, 1]
    assert torch.allclose(train.null.pooled, pooled(place, [""]), atol=1e-5)
    with pytest.raises(UserError, match=r"'a dog' is not among the captions of .*store.texts: choose one of"):
        source(place, conditions=["a dog"])


def drawn(data: Captioned, steps: int, rank: int = 0, world: int = 1, first: int = 0) -> list[Any]:
    stream = DiffusionData(data, data, 9 * 2, workers=0, seed=3)
    stream.trainer = SimpleNamespace(
        global_rank=rank, world_size=world, global_step=first, accumulate_grad_batches=1, training=True
    )
    return list(islice(stream.train_dataloader(), steps))


def test_training_draws_captions_by_counter(place: Path) -> None:
    data = source(place)
    texts = [text for number in data.pictures for text in captions_of(number) or [""]]
    known = pooled(place, texts)
    whole = drawn(data, 60)
    numbers = [number for batch in whole for number in number_of(batch.condition, known)]
    x = torch.cat([batch.x for batch in whole])
    latents = Latents(place / "store", True, place / "vae")
    stored = [latents.read(range(len(latents)), [mirror] * len(latents)).x for mirror in (0, 1)]
    seen = np.zeros((len(latents), 2, 2), int)
    for one, number in zip(x, numbers, strict=True):
        index, mirror = next((i, m) for m in (0, 1) for i in range(len(latents)) if torch.equal(one, stored[m][i]))
        own = captions_of(int(data.pictures[index])) or [""]
        seen[index, mirror, own.index(texts[number])] += 1
    two = seen[[len(captions_of(int(number))) == 2 for number in data.pictures]]
    share = two.sum(0) / two.sum()
    assert np.abs(share - 0.25).max() < 0.08, "each caption of each mirror alike"
    assert (two.sum((1, 2)) == 60 * 18 // len(latents)).all()
    shares = [[number_of(batch.condition, known) for batch in drawn(data, 5, rank, 2)] for rank in range(2)]
    assert [number for pair in zip(*shares, strict=True) for half in pair for number in half] == numbers[: 5 * 18]
    assert [number for batch in drawn(data, 2, first=7) for number in number_of(batch.condition, known)] == numbers[
        7 * 18 : 9 * 18
    ]


def test_pictures_that_cannot_be_read_do_not_shift_the_captions(place: Path, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "images")
    for number in (4, 11):
        (tmp_path / "images" / f"{number:02d}.png").write_bytes(b"damaged")
    encode_both(place, tmp_path / "store", tmp_path / "images", on_error="skip")
    data = captioned_latents(str(tmp_path / "store"), True, str(place / "vae"))
    whole = source(place)
    first = {int(number): index for index, number in enumerate(whole.pictures)}
    both = [(index, int(number)) for index, number in enumerate(data.pictures) if int(number) in first]
    assert len(both) > 15
    assert not {4, 11} & set(data.pictures.tolist())
    for index, number in both:
        ours, theirs = data.read([index]), whole.read([first[number]])
        assert torch.equal(ours.x, theirs.x)
        assert torch.allclose(ours.condition.pooled, theirs.condition.pooled, atol=1e-5)


def test_texts_of_other_pictures_are_refused(place: Path, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "images")
    (tmp_path / "images" / "07.png").rename(tmp_path / "images" / "99.png")
    encode_both(place, tmp_path / "store", tmp_path / "images", vae=None)
    assert not (tmp_path / "store" / "manifest.json").exists()
    with pytest.raises(UserError, match=r"are of other pictures \(30\) than the samples: encode pictures and captions"):
        source(place, texts=str(tmp_path / "store" / "texts"))
    pictures = PixelSource(torch.rand(COUNT, 3, 4, 4), torch.zeros(COUNT, dtype=torch.long), 1, "pictures")
    found = Captioned(pictures, Texts(tmp_path / "store" / "texts"), 3)
    assert torch.equal(found.read([5, 2]).x, pictures.pixels[[5, 2]])
    assert found.shown == [captions_of(number)[0] for number in (1, 2, 4)]
    fewer = PixelSource(torch.rand(4, 3, 4, 4), torch.zeros(4, dtype=torch.long), 1, "pictures")
    with pytest.raises(UserError, match="are of other pictures"):
        Captioned(fewer, found.texts)


def test_the_same_command_goes_on_and_tells_what_is_odd(place: Path, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level("INFO")
    before = {path: path.stat().st_mtime_ns for path in (place / "store").rglob("*.safetensors")}
    encode_both(place, place / "store")
    assert {path: path.stat().st_mtime_ns for path in (place / "store").rglob("*.safetensors")} == before
    assert "30 captions of 30 pictures; 10 pictures without a caption." in caplog.text
    verify(str(place / "store"))
    assert "is complete and undamaged: 30 latents in one shard and 30 captions." in caplog.text
    with pytest.raises(UserError, match=r"holds texts of another sha256, dtype \(float32, not bfloat16\), shard_texts"):
        encode_both(place, place / "store", text_dtype="bfloat16")
    with pytest.raises(UserError, match="another lengths"):
        encode_both(place, place / "store", text_length=4)
    encode_both(place, tmp_path / "short", text_length=4, vae=None)
    assert "20 captions longer than the encoder takes, and cut." in caplog.text
    damaged = tmp_path / "short" / "texts" / "captions.jsonl"
    damaged.write_bytes(damaged.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"captions\.jsonl is damaged"):
        verify(str(tmp_path / "short"))


def test_what_is_missing_is_told_before_any_work(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Set vae to encode pictures, text_encoder to encode their captions, or both"):
        encode_both(place, tmp_path / "store", vae=None, text_encoder=None)
    with pytest.raises(MissingFileError, match=r"There is no .*gone\.json: set captions"):
        encode_both(place, tmp_path / "store", captions="gone.json")
    encode_both(place, tmp_path / "latents", text_encoder=None)
    with pytest.raises(MissingFileError, match=r"There are no texts at .*latents/texts: encode the captions"):
        captioned_latents(str(tmp_path / "latents"), True, str(place / "vae"))
