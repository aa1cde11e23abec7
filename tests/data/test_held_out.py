"""Which images are held out: of each class its share, by chance that never changes."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dmp_lightning.data.latents.held_out import draw_held_out
from dmp_lightning.data.latents.manifest import MANIFEST, read_manifest, write_record
from dmp_lightning.data.latents.source import Latents
from dmp_lightning.files import CHECKSUM
from tests.data.test_encoding import encode, place  # noqa: F401  # the fixture of encoded images
from tests.data.test_foreign import write_fast_dit
from tests.data.test_latents import write_store


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([10] * 5, [1] * 5),
        ([100, 50, 50], [10, 5, 5]),
        ([700, 200, 100], [70, 20, 10]),
        ([28_000, 42_000], [400, 600]),  # a thousand at most
        ([1_300] * 1_000, [1] * 1_000),
        ([2, 2, 96], [0, 0, 10]),
        ([1, 19], [0, 2]),
        ([1] * 30, [0] * 30),  # a class keeps its single image
        ([23], [2]),
        ([5], [1]),
        ([2], [1]),
        ([1], [0]),
    ],
)
def test_each_class_gives_its_share(counts: list[int], expected: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    drawn = draw_held_out(labels)
    assert np.bincount(labels[drawn], minlength=len(counts)).tolist() == expected
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert np.array_equal(drawn, draw_held_out(labels))
    mixed = np.random.default_rng(1).permutation(labels)  # wherever they lie
    assert np.bincount(mixed[draw_held_out(mixed)], minlength=len(counts)).tolist() == expected


@pytest.mark.parametrize("seed", range(20))
def test_shares_are_within_one_image_and_leave_each_class_half(seed: int) -> None:
    chance = np.random.default_rng(seed)
    labels = chance.choice(7, 400, p=chance.dirichlet(np.ones(7))) * 11  # numbers with gaps
    present, counts = np.unique(labels, return_counts=True)
    taken = np.array([(labels[draw_held_out(labels)] == number).sum() for number in present])
    assert taken.sum() == 40
    assert (np.abs(taken - counts / 10) < 1).all()
    assert (taken <= counts // 2).all()


def test_the_draw_is_spread_over_the_store_and_is_what_it_was() -> None:
    drawn = draw_held_out(np.zeros(1000, np.int64))
    assert np.histogram(drawn, 5, (0, 1000))[0].min() >= 10
    assert draw_held_out(np.arange(60) % 3).tolist() == [0, 8, 10, 17, 45, 52]


def test_the_manifest_says_what_training_and_validation_read(place: Path) -> None:  # noqa: F811
    store = place / "store"
    drawn = list(read_manifest(store / MANIFEST).held_out)
    assert drawn == draw_held_out(np.zeros(23, np.int64)).tolist() != [21, 22]
    whole = torch.cat([load_file(path)["moments"] for path in sorted(store.glob("*.safetensors"))])
    for train, expected in ((True, [index for index in range(23) if index not in drawn]), (False, drawn)):
        source = Latents(store, train, place / "vae")
        assert torch.equal(source.read(range(len(source))).x, whole[expected, 0])


def test_a_complete_store_keeps_its_held_out_images(place: Path, tmp_path: Path) -> None:  # noqa: F811
    encode(place, tmp_path / "store")
    manifest = as_format_1(tmp_path / "store")
    encode(place, tmp_path / "store")
    assert (tmp_path / "store" / MANIFEST).read_text() == manifest
    (tmp_path / "store" / MANIFEST).write_text("{")
    encode(place, tmp_path / "store")
    assert (tmp_path / "store" / MANIFEST).read_bytes() == (place / "store" / MANIFEST).read_bytes()


def as_format_1(store: Path) -> str:
    content = json.loads((store / MANIFEST).read_text())
    del content["held_out"], content[CHECKSUM]
    text = json.dumps(content | {"format": 1})
    (store / MANIFEST).write_text(text)
    return text


def test_a_store_of_format_1_keeps_the_last_ones_and_says_so(tmp_path: Path, caplog: Any) -> None:
    store = write_store(tmp_path / "store")
    as_format_1(store)
    with caplog.at_level(logging.WARNING):
        assert Latents(store, True, store / "vae").indices.tolist() == list(range(45))
        assert not caplog.records
        assert Latents(store, False, store / "vae").indices.tolist() == list(range(45, 50))
    assert (
        "held out the last 5 images by name. To draw them evenly over classes, encode into another folder"
        in caplog.text
    )


def test_latents_of_others_are_held_out_evenly(tmp_path: Path) -> None:
    store = write_store(tmp_path)  # for its VAE
    _, labels = write_fast_dit(tmp_path / "features", 70)  # of seven classes
    held_out = Latents(tmp_path / "features", False, store / "vae")
    assert sorted(held_out.read(range(7)).condition.label.tolist()) == list(range(7))
    assert held_out.indices.tolist() == draw_held_out(labels).tolist()
    assert len(Latents(tmp_path / "features", True, store / "vae")) == 63


def test_results_of_another_split_are_not_found(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    manifest = read_manifest(store / MANIFEST)
    found = set()
    for drawn in (None, (1, 2, 3), (1, 2, 4)):
        write_record(type(manifest)(manifest.plan, manifest.count, manifest.shards, drawn), store / MANIFEST)
        found |= {Latents(store, train, store / "vae").fingerprint for train in (True, False)}
    assert len(found) == 6


@pytest.mark.parametrize("drawn", [[50], [-1], [2, 1], [1, 1], [1.0], ["1"], [True], 3, {"a": 1}])
def test_a_manifest_that_holds_out_what_there_is_not_is_refused(drawn: object, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    content = json.loads((store / MANIFEST).read_text())
    del content[CHECKSUM]  # as if it were written so
    (store / MANIFEST).write_text(json.dumps(content | {"held_out": drawn}))
    with pytest.raises(ValueError, match=r"manifest\.json (holds out images that|does not describe latents)"):
        Latents(store, True, store / "vae")


def test_nothing_to_hold_out_is_told(tmp_path: Path) -> None:
    store = write_store(tmp_path)
    write_fast_dit(tmp_path / "features", 7)
    Latents(tmp_path / "features", True, store / "vae")
    with pytest.raises(ValueError, match=r"No image of .*features can be held out, because each class has only one"):
        Latents(tmp_path / "features", False, store / "vae")
