"""Files of any kind below a folder of runs: each that is no record is named, and the others are told."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from dmp_lightning.reports.comparison import build_lines
from dmp_lightning.reports.evidence import read_evidence
from dmp_lightning.reports.spreadsheet import csv_table
from dmp_lightning.runs.records import Records, read_folder
from dmp_lightning.runs.texts import as_code, cut, in_csv, in_markdown, slug, visible
from tests.reports.made import evidence, record, write

TEXT = json.dumps(record("linear", 2, -4.0))
FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.touch(), "is not valid JSON"),
    "BOM": (lambda path: path.write_text(TEXT, encoding="utf-8-sig"), "is not valid JSON"),
    "UTF-16": (lambda path: path.write_text(TEXT, encoding="utf-16"), "is not valid JSON"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(TEXT.encode())), "is not valid JSON"),
    "cut": (lambda path: path.write_text(TEXT[:300]), "is not valid JSON"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "is a broken link"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "left out"),
    "a pipe": (lambda path: os.mkfifo(path), "is not a file"),
    "a key twice": (lambda path: path.write_text(TEXT.replace("{", '{"name": "a", ', 1)), "'name' appears twice"),
    "NaN": (lambda path: path.write_text(TEXT.replace('"parameters": 70000', '"base": NaN')), "NaN is not allowed"),
    "nested": (lambda path: path.write_text("[" * 99999), "nested more than"),
    "half a character": (lambda path: path.write_text(TEXT.replace('"made"', '"\\ud800"')), "is not valid JSON"),
    "a huge integer": (
        lambda path: path.write_text(TEXT.replace('"parameters": 70000', '"base": ' + "7" * 5000)),
        "is not valid JSON",
    ),
    "another schema": (lambda path: path.write_text(TEXT.replace('"schema": 2', '"schema": 3')), "in "),
    "true as schema": (lambda path: path.write_text(TEXT.replace('"schema": 2', '"schema": true')), "in "),
    "no schema": (lambda path: path.write_text("{}"), "(no `schema`)"),
    "null": (lambda path: path.write_text("null"), "(no `schema`)"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["results.json", "failed.json"])
def test_what_is_no_record_is_named(name: str, kind: str, tmp_path: Path) -> None:
    make, reason = FILES[name]
    write(tmp_path / "good" / "results.json", record("linear", 1, -4.0))
    (tmp_path / "bad").mkdir()
    make(tmp_path / "bad" / kind)
    found = read_folder(tmp_path)
    assert len(found.runs) == 1
    (warning,) = found.warnings
    assert str(tmp_path / "bad" / kind) in warning
    assert reason in warning


def test_where_all_are_bad_one_sentence_says_so(tmp_path: Path) -> None:
    for number in range(9):
        write(tmp_path / str(number) / "results.json", {})
    with pytest.raises(FileNotFoundError, match="holds no results") as raised:
        read_folder(tmp_path)
    assert str(raised.value).count("no `schema`") == 3
    assert str(raised.value).endswith("And 6 more.")


def test_a_linked_folder_elsewhere_is_named_and_a_circle_is_not_entered(tmp_path: Path) -> None:
    write(tmp_path / "other" / "results.json", record("linear", 2, -4.0))
    write(tmp_path / "runs" / "good" / "results.json", record("linear", 1, -4.0))
    (tmp_path / "runs" / "elsewhere").symlink_to(tmp_path / "other")
    (tmp_path / "runs" / "circle").symlink_to(tmp_path / "runs")
    found = read_folder(tmp_path / "runs")
    assert [run.path.parent.name for run in found.runs] == ["good"]
    assert [warning.split(" is left out")[0] for warning in found.warnings] == [str(tmp_path / "runs" / "elsewhere")]


def changed(**tensors: Any) -> dict[str, np.ndarray]:
    return {name: value for name, value in (evidence("linear", 1) | tensors).items() if value is not None}


EVIDENCE: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "no samples": (changed(samples_after=None), "samples_after is missing"),
    "floats as samples": (changed(samples_after=np.ones((6, 8, 8), np.float32)), "is not a set of pictures"),
    "no sample": (changed(samples_before=np.ones((0, 8, 8), np.uint8)), "is not a set of pictures"),
    "two colours": (changed(samples_before=np.ones((6, 2, 8, 8), np.uint8)), "2 colours"),
    "fewer after": (changed(samples_after=np.ones((5, 8, 8), np.uint8)), "after (5, 8, 8)"),
    "captions of others": (changed(captions=np.frombuffer(b"a\nb", np.uint8)), "captions are not those of 6 samples"),
    "captions that are no text": (changed(captions=np.full(6, 255, np.uint8)), "'utf-8' codec"),
    "captions as numbers": (changed(captions=np.ones(6)), "captions are not those of 6 samples"),
    "gates without norms": (changed(prompt_norms=None), "prompt_norms is missing"),
    "norms alone": (changed(gate_weights=None, gate_timesteps=None, gate_blocks=None), "gate_weights is missing"),
    "flat gates": (changed(gate_weights=np.ones((2, 10), np.float32)), "gate_weights has shape"),
    "one timestep": (changed(gate_weights=np.ones((2, 1, 16), np.float32)), "gate_weights has shape"),
    "no prompts": (changed(gate_weights=np.ones((2, 10, 0), np.float32)), "gate_weights has shape"),
    "other blocks": (changed(gate_blocks=np.arange(3)), "gate_blocks is int64 of shape (3,)"),
    "blocks as floats": (changed(gate_blocks=np.ones(2)), "gate_blocks is float64"),
    "negative blocks": (changed(gate_blocks=np.array([-1, 2])), "contains invalid timesteps or blocks"),
    "timesteps turned round": (changed(gate_timesteps=np.arange(10)[::-1].copy()), "not in order"),
    "NaN": (changed(gate_weights=np.full((2, 10, 16), np.nan, np.float32)), "contains NaN, infinity or a huge number"),
    "infinite norms": (changed(prompt_norms=np.full((2, 16), np.inf)), "contains NaN, infinity or a huge number"),
    "a grid of others": (changed(prompt_grid=np.array([3, 5])), "prompt_grid does not hold 16 prompts"),
    "a flat grid": (changed(prompt_grid=np.array([16])), "prompt_grid does not hold"),
    "a grid of nothing": (changed(prompt_grid=np.array([0, 4])), "prompt_grid does not hold"),
    "huge": (changed(gate_weights=np.full((2, 10, 16), 1e300)), "contains NaN, infinity or a huge number"),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_wrong_evidence_is_named(name: str, tmp_path: Path) -> None:
    tensors, reason = EVIDENCE[name]
    save_file(tensors, tmp_path / "evidence.safetensors")
    with pytest.raises(ValueError, match="samples and gates are left out") as raised:
        read_evidence(tmp_path / "evidence.safetensors")
    assert reason in str(raised.value)


def test_right_evidence_is_read(tmp_path: Path) -> None:
    save_file(evidence("linear", 1), tmp_path / "evidence.safetensors")
    assert read_evidence(tmp_path / "evidence.safetensors").keys() == evidence("linear", 1).keys()


def test_texts_are_only_themselves() -> None:
    assert visible("a\n\x1b[1m\u202eb\udcff") == "a \\x1b[1m\\u202eb\\udcff"
    assert visible("Füße 猫 😀 \u200d") == "Füße 猫 😀 \u200d"
    assert in_markdown("<img>|`a` $x$ [l](u) *b* _c_ {{d}} gate_type") == (
        "&lt;img&gt;\\|\\`a\\` \\$x\\$ \\[l\\](u) \\*b\\* \\_c\\_ \\{\\{d\\}\\} gate_type"
    )
    assert as_code("a`b|c") == "``a`b\\|c``"
    assert [in_csv(value) for value in ("=1", "+1", "-a", "@b", "a=1", -1.5)] == [
        "'=1",
        "'+1",
        "'-a",
        "'@b",
        "a=1",
        -1.5,
    ]


def test_long_names_are_cut_and_stay_apart() -> None:
    one, other = cut("x" * 10_000 + "1"), cut("x" * 10_000 + "2")
    assert one != other
    assert len(one) < 210
    assert len(slug("猫" * 500).encode()) <= 100
    assert slug("猫" * 500) == "猫" * 33


def test_long_and_hostile_names_are_told(tmp_path: Path) -> None:
    for kind, end in (("linear", "a"), ("topk", "b")):
        content = record(kind, 1, -4.0, label="=<b>" + "猫" * 10_000 + end)
        content["method"]["label"] = content["config"]["label"]
        write(tmp_path / end / "results.json", content)
    found: Records = read_folder(tmp_path)
    bases, lines = build_lines(found.runs, found.warnings)
    assert len({line.name for line in lines}) == 2
    assert all(len(line.slug.encode()) < 100 for line in lines)
    assert csv_table(bases, lines).count("'=<b>") == 2
