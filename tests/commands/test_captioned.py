"""Captioned pictures, from the encode command to a trained patch, on tiny random models."""

from pathlib import Path

import pytest
import torch

from dmp_lightning.commands.train import train
from dmp_lightning.data.texts.store import Texts
from tests import processes
from tests.backbones.tiny import build
from tests.commands.test_diffusers import SHORT
from tests.configs import config
from tests.data.test_captioned import draw_pictures, encode_both
from tests.data.test_encoding import make_vae
from tests.data.test_text_encoders import save_bert


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`images` with captions, `vae` and `bert`; and `pixart`, which takes texts of that width."""
    place = tmp_path_factory.mktemp("captioned")
    make_vae(place / "vae", 3)
    save_bert(place / "bert")
    draw_pictures(place / "images")
    build("PixArtTransformer2DModel").save_pretrained(place / "pixart")
    return place


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))


def run(place: Path, run_dir: Path, *more: str) -> dict[str, float]:
    data = [
        "data=captioned",
        f"data.train.folder={place / 'store'}",
        f"data.train.vae={place / 'vae'}",
        "data.workers=0",
        "diffusion=linear",
        "sampler=ddim",
    ]
    where = [f"backbone.path={place / 'pixart'}", f"run_dir={run_dir}", f"base_results={run_dir.parent}/base"]
    rest = [each for each in SHORT if not each.startswith(("data=", "features.shape"))]
    return train(config(*rest, *data, "features.shape=[3,16,16]", *where, *more))


def test_a_patch_is_trained_on_captioned_pictures(place: Path, tmp_path: Path) -> None:
    encode_both(place, place / "store")
    metrics = run(place, tmp_path / "run")
    assert 0 < metrics["loss"] < 100
    assert metrics["loss_difference"] != 0
    assert (tmp_path / "run" / "patch.safetensors").is_file()


def test_a_store_of_another_width_is_refused(place: Path, tmp_path: Path) -> None:
    build("PixArtTransformer2DModel", caption_channels=20).save_pretrained(tmp_path / "wide")
    encode_both(place, place / "store")
    with pytest.raises(Exception, match=r"has a text of width 12, not 20, as the model takes it: encode the captions"):
        run(place, tmp_path / "run", f"backbone.path={tmp_path / 'wide'}")


@pytest.mark.slow
def test_captions_are_encoded_by_the_command(place: Path, tmp_path: Path) -> None:
    arguments = [f"source={place / 'images'}", "out=store", "vae=null", f"text_encoder={place / 'bert'}"]
    result = processes.command(tmp_path, [*arguments, "text_dtype=float16", "labels=none"], name="encode")
    assert result.code == 0, result.stderr
    assert "30 captions of 30 pictures; 10 pictures without a caption." in result.stdout
    store = Texts(tmp_path / "store" / "texts")
    assert (len(store), store.plan.dtype, store.read([0]).text.dtype) == (30, "float16", torch.float32)
