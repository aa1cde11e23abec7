"""Captions are found wherever people keep them, and odd files are read as they are meant, or refused in a sentence."""

import csv
import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from dmp_lightning.data.captions.captions import Captions, read_captions
from dmp_lightning.data.captions.read import EMPTY, STRANGE, WITHOUT, find_captions
from dmp_lightning.data.images.open import open_images
from dmp_lightning.files import DamagedError
from dmp_lightning.user_error import MissingFileError, UserError
from tests.picture_files import png_of

PNG = png_of(1, 1, 8, 0, bytes(2))


def make(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def pictures(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, PNG)


def found(source: Path, where: str = "auto", key: str | None = None) -> tuple[dict[str, list[str]], Counter[str]]:
    captions, counts = find_captions(open_images(source, captioned=True), source, where, key)
    return {name: list(each) for name, each in zip(captions.names, captions.texts, strict=True)}, +counts


def jsonl(*rows: object) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def test_a_text_beside_each_picture(tmp_path: Path) -> None:
    make(tmp_path, pictures("a.png", "b.PNG", "sub/c.d.png", "e.png", "f.png", "g.png"))
    make(tmp_path, {"a.txt": "a red  apple \r\nan apple\r\n\r\n", "b.TXT": "\ufeffblå", "sub/c.d.caption": "three"})
    make(tmp_path, {"e.txt": "\n \n", "g.txt": "zwölf".encode("utf-16"), "notes.txt": "of no picture"})
    texts, counts = found(tmp_path)
    assert texts["a.png"] == ["a red apple", "an apple"]
    assert (texts["b.PNG"], texts["sub/c.d.png"], texts["g.png"]) == (["blå"], ["three"], ["zwölf"])
    assert (texts["e.png"], texts["f.png"]) == ([], [])
    assert counts == {EMPTY: 1, WITHOUT: 1}


def test_captions_that_are_read_are_not_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, pictures("a.png") | {"a.txt": "one", "b.psd": b"?"})
    open_images(tmp_path, captioned=True)
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == ["left out: 1 .psd."]


def test_texts_of_another_encoding_are_refused(tmp_path: Path) -> None:
    make(tmp_path, pictures("a.png") | {"a.txt": "Bob\x92s café".encode("latin-1")})
    with pytest.raises(UserError, match=r"a\.txt is not in UTF-8 \(byte 3 is 0x92\): convert it, such as by `iconv"):
        found(tmp_path)


ROWS = [
    {"file_name": "a.png", "text": 'an "odd", caption'},
    {"file_name": "sub\\b.png", "text": ["one", None, " two "]},
    {"file_name": "./sub/b.png", "text": "two"},
    {"file_name": "c.png", "text": None},
    {"file_name": "d.png", "text": "  "},
    {"file_name": "e.png", "text": float("nan"), "size": float("nan")},
    {"file_name": "gone.png", "text": "not here"},
    {"file_name": "u\u0308.png", "text": "half \ud800 a character, \u2028 one line"},
]
NAMES = ("a.png", "sub/b.png", "c.png", "d.png", "e.png", "ü.png")
EXPECTED = {
    "a.png": ['an "odd", caption'],
    "sub/b.png": ["one", "two"],
    "c.png": [],
    "d.png": [],
    "e.png": [],
    "ü.png": ["half ? a character, one line"],
}


def test_metadata_jsonl(tmp_path: Path) -> None:
    make(tmp_path, pictures(*NAMES) | {"metadata.jsonl": "\ufeff" + jsonl(*ROWS).replace("\n", "\r\n") + "\r\n\r\n"})
    texts, counts = found(tmp_path)
    assert texts == EXPECTED
    assert counts == {EMPTY: 1, WITHOUT: 2, STRANGE: 1}


def test_metadata_csv(tmp_path: Path) -> None:
    rows = [
        ["file_name", " text "],
        ["a.png", 'an "odd", caption'],
        ["sub\\b.png", "one"],
        ["sub/b.png", " two\nlines "],
        ["gone.png", "x"],
        ["d.png", ""],
    ]
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    make(tmp_path, pictures(*NAMES) | {"metadata.csv": "\ufeff" + written.getvalue() + "\r\nc.png\r\n\r\n"})
    texts, counts = found(tmp_path)
    assert (texts["a.png"], texts["sub/b.png"]) == (['an "odd", caption'], ["one", "two lines"])
    assert counts == {EMPTY: 1, WITHOUT: 3, STRANGE: 1}


def test_a_table_names_pictures_from_its_own_folder_on(tmp_path: Path) -> None:
    make(tmp_path, pictures("train/a.png", "test/a.png"))
    for part in ("train", "test"):
        make(tmp_path, {f"{part}/metadata.jsonl": jsonl({"file_name": "a.png", "text": part})})
    assert found(tmp_path)[0] == {"train/a.png": ["train"], "test/a.png": ["test"]}
    assert found(tmp_path, str(tmp_path / "train" / "metadata.jsonl"))[0]["train/a.png"] == ["train"]
    outside = make(
        tmp_path.parent / f"{tmp_path.name}-outside", {"t.jsonl": jsonl({"file_name": "test/a.png", "text": "x"})}
    )
    assert found(tmp_path, str(outside / "t.jsonl"))[0] == {"train/a.png": [], "test/a.png": ["x"]}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "x"}\n{"file', r"metadata\.jsonl, line 2, is no JSON"),
        ("metadata.jsonl", jsonl({"image": "a.png", "text": "x"}), "line 1, has no file_name: write"),
        ("metadata.jsonl", jsonl({"file_name": "a.png", "text": 3}), r"line 1, has a caption that is no text \(3\)"),
        ("metadata.jsonl", jsonl({"file_name": "a.png", "text": [["x"]]}), "has a caption that is no text"),
        (
            "metadata.jsonl",
            jsonl({"file_name": "a.png", "text": "x", "caption": "y"}),
            "has text and caption: set capt",
        ),
        (
            "metadata.jsonl",
            jsonl({"file_name": "b.png", "text": "x"}),
            r"names no picture of the source, such as 'b\.png'",
        ),
        ("metadata.jsonl", jsonl({"file_name": "a.png", "title": "x"}), "There are no captions of the pictures in"),
        ("metadata.jsonl", "[" * 100_000, "line 1, is no JSON"),
        ("metadata.csv", "file_name;text\na.png;x\n", "has the columns file_name;text: name them file_name and text"),
        ("metadata.csv", "file_name,text\na.png,one, two\n", "line 2, has more fields than the header: put captions"),
        ("metadata.csv", 'file_name,text\na.png,"one\n', "is no CSV"),
        ("metadata.csv", f"file_name,text\na.png,{'x' * 200_000}\n", r"is no CSV after line 1 \(field larger than"),
        ("metadata.csv", "", "has the columns : name them"),
        ("a.json", '{"caption": "x"', r"a\.json is no JSON"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    make(tmp_path, pictures("a.png") | {name: content})
    with pytest.raises(UserError, match=sentence):
        found(tmp_path)


def test_a_column_of_another_name_can_be_named(tmp_path: Path) -> None:
    make(tmp_path, pictures("a.png") | {"metadata.jsonl": jsonl({"file_name": "a.png", "text": "x", "caption": "y"})})
    assert found(tmp_path, key="caption")[0] == {"a.png": ["y"]}


def test_two_kinds_of_tables_are_refused(tmp_path: Path) -> None:
    make(tmp_path, pictures("a.png") | {"metadata.jsonl": "", "metadata.csv": ""})
    with pytest.raises(UserError, match=r"holds metadata\.csv and metadata\.jsonl: set captions"):
        found(tmp_path)


def coco(**changes: object) -> str:
    content = {
        "images": [{"id": 9, "file_name": "000009.png"}, {"id": 25, "file_name": "000025.png"}],
        "annotations": [
            {"image_id": 25, "id": 1, "caption": "A giraffe."},
            {"image_id": 9, "id": 2, "caption": "Food in boxes.\n"},
            {"image_id": 25, "id": 3, "caption": "Two giraffes."},
            {"image_id": 25, "id": 4, "caption": "A giraffe."},
            {"image_id": 77, "id": 5, "caption": "Of no picture."},
        ],
    }
    return json.dumps(content | changes)


def test_coco(tmp_path: Path) -> None:
    make(tmp_path / "train2017", pictures("000009.png", "000025.png", "000030.png"))
    make(tmp_path, {"captions.json": coco()})
    texts, counts = found(tmp_path / "train2017", str(tmp_path / "captions.json"))
    assert texts["000025.png"] == ["A giraffe.", "Two giraffes."]
    assert (texts["000009.png"], texts["000030.png"]) == (["Food in boxes."], [])
    assert counts == {WITHOUT: 1, STRANGE: 1}
    assert found(tmp_path, str(tmp_path / "captions.json"))[0]["train2017/000009.png"] == ["Food in boxes."]


@pytest.mark.parametrize("content", [coco(annotations=[{"image_id": 9, "bbox": []}]), "[]", "{", coco(images=None)])
def test_another_json_than_cocos_captions_is_refused(tmp_path: Path, content: str) -> None:
    make(tmp_path / "pictures", pictures("000009.png"))
    make(tmp_path, {"instances.json": content})
    with pytest.raises(UserError, match=r"instances\.json does not hold captions as COCO's"):
        found(tmp_path / "pictures", str(tmp_path / "instances.json"))


def test_captions_must_be_somewhere(tmp_path: Path) -> None:
    make(tmp_path, pictures("a.png"))
    with pytest.raises(MissingFileError, match=r"There are no captions .* write a \.txt beside each, or metadata"):
        found(tmp_path)
    with pytest.raises(MissingFileError, match=r"There is no .*gone\.jsonl: set captions"):
        found(tmp_path, str(tmp_path / "gone.jsonl"))
    with pytest.raises(UserError, match="choose auto, or the path of a"):
        found(tmp_path, "txt")


def tar(path: Path, files: dict[str, bytes | str]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))


def test_webdataset(tmp_path: Path) -> None:
    for shard in range(2):
        files = {"0.png": PNG, "0.txt": f"a picture of shard {shard}", "1.png": PNG, "9.txt": "of no picture"}
        files |= {"1.json": json.dumps({"caption": f"from JSON {shard}", "url": "http://example.org", "key": "1"})}
        tar(tmp_path / f"0000{shard}.tar", files | {"sub/2.rgb.png": PNG, "sub/2.txt": "deep", "3.png": PNG})
    texts, counts = found(tmp_path)
    assert [texts[f"0000{shard}.tar: 0.png"] for shard in range(2)] == [[f"a picture of shard {n}"] for n in range(2)]
    assert texts["00001.tar: 1.png"] == ["from JSON 1"]
    assert texts["00001.tar: sub/2.rgb.png"] == ["deep"]
    assert counts == {WITHOUT: 2}


def test_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (pictures("x/a.png", "x/b.png") | {"x/metadata.jsonl": jsonl(*ROWS[:1])}).items():
            archive.writestr(name, content)
    assert found(path)[0] == {"x/a.png": ['an "odd", caption'], "x/b.png": []}


def test_captions_are_kept_as_they_are(tmp_path: Path) -> None:
    captions = Captions(["a\u2028.png", "b"], [["one\u2028", '"'], []], "pictures")
    (tmp_path / "c.jsonl").write_bytes(captions.to_bytes())
    assert read_captions(tmp_path / "c.jsonl", "pictures") == captions
    for damaged in (b"[1]\n", b'{"picture": 3, "captions": []}\n', b'{"picture": "a", "captions": "x"}\n', b"\xff"):
        (tmp_path / "c.jsonl").write_bytes(damaged)
        with pytest.raises(DamagedError, match="does not hold captions as they are written"):
            read_captions(tmp_path / "c.jsonl", "pictures")
