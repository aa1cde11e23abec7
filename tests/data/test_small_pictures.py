"""Captioned emoji as they ship, against their files as Pillow and JSON read them; and small pictures of others."""

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from dmp_lightning.data.captioned import Captioned
from dmp_lightning.data.small_pictures import SmallPictures
from dmp_lightning.user_error import MissingFileError, UserError
from tests.configs import config

ARCHIVE = Path("experiments/emoji_pretrain/pictures.zip")
TONE = re.compile(r"-1f3f[b-f]")
Lines = list[tuple[str, list[str]]]


@pytest.fixture(scope="module")
def lines() -> Lines:
    """Name and captions of each picture."""
    with zipfile.ZipFile(ARCHIVE) as file:
        found = [json.loads(line) for line in file.read("metadata.jsonl").decode().splitlines()]
    pairs = ((line["file_name"], line["text"]) for line in found)
    return [(name, text if isinstance(text, list) else [text]) for name, text in pairs]


@pytest.fixture(scope="module")
def sources() -> dict[str, Captioned]:
    settings = config("+experiment=emoji")
    return {split: instantiate(settings.data[split]) for split in ("train", "validation")}


def test_no_emoji_is_on_both_sides_in_another_tone(lines: Lines) -> None:
    sides: dict[str, set[str]] = {}
    for name, _ in lines:
        side, file = name.split("/")
        sides.setdefault(TONE.sub("", file.replace("-fe0f", "")), set()).add(side)
    assert all(len(found) == 1 for found in sides.values())
    share = sum(found == {"validation"} for found in sides.values()) / len(sides)
    assert 0.05 < share < 0.12


def test_each_caption_is_of_one_picture(lines: Lines) -> None:
    captions = [caption for _, said in lines for caption in said]
    assert len(set(captions)) == len(captions) > len(lines) > 2_500


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_sample_is_the_picture_under_its_caption(split: str, lines: Lines, sources: dict[str, Captioned]) -> None:
    source, mine = sources[split], sorted(line for line in lines if line[0].startswith(split))
    assert len(source) == len(mine)
    indices = [0, len(mine) // 2, len(mine) - 1]
    stored = source.read(indices)
    samples = source.draw(stored.x)
    with zipfile.ZipFile(ARCHIVE) as file:
        pixels = [np.asarray(Image.open(io.BytesIO(file.read(mine[index][0])))) for index in indices]
    np.testing.assert_allclose(samples.permute(0, 2, 3, 1).numpy(), np.stack(pixels) / 127.5 - 1, atol=1e-6)
    numbers = source.texts.find([mine[index][1][0] for index in indices])
    assert stored.condition.text is not None
    torch.testing.assert_close(stored.condition.text, source.texts.read(numbers).text)


def test_training_draws_both_captions_of_a_picture(lines: Lines, sources: dict[str, Captioned]) -> None:
    source, mine = sources["train"], sorted(line for line in lines if line[0].startswith("train"))
    index = next(index for index, (_, said) in enumerate(mine) if len(said) == 2)
    drawn = [source.read([index], [version]).condition for version in (0, source.versions - 1)]
    wanted = [source.texts.read([number]) for number in source.texts.find(mine[index][1])]
    for found, expected in zip(drawn, wanted, strict=True):
        assert found.text is not None
        assert expected.text is not None
        torch.testing.assert_close(found.text, expected.text)


def test_a_third_of_the_captions_to_sample_is_held_out(lines: Lines, sources: dict[str, Captioned]) -> None:
    sides = {caption: name.split("/")[0] for name, said in lines for caption in said}
    assert [sides[caption] for caption in sources["train"].shown[:24]] == ["train"] * 16 + ["validation"] * 8


def test_pictures_of_anybody(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"data\.train\.pictures"):
        SmallPictures(tmp_path / "none", 8, True)
    for number, name in enumerate(["train/a.png", "validation/b.png", "c.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name)
    held_out = SmallPictures(tmp_path, 8, False)
    assert held_out.read([0]).x[0, 0, 0, 0] == 1
    assert len(SmallPictures(tmp_path, 8, True)) == 2
    (tmp_path / "validation" / "b.png").unlink()
    with pytest.raises(UserError, match="validation"):
        SmallPictures(tmp_path, 8, False)
