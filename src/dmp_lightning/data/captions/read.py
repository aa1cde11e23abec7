"""The captions of the pictures of a source: in files beside them, or in a table."""

import json
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from dmp_lightning.data.captions.captions import Captions
from dmp_lightning.data.captions.tables import Row, captions_in, column, decoded, rows_of
from dmp_lightning.data.images.source import Images
from dmp_lightning.data.images.tar import TarImages, key_of
from dmp_lightning.user_error import MissingFileError, UserError

TABLES = ("metadata.jsonl", "metadata.csv")
BESIDE = (".txt", ".caption", ".json")
"""Suffixes of a picture's own file, the first of which counts."""
WITHOUT, EMPTY = "pictures without a caption", "pictures with an empty caption"
STRANGE = "captions of pictures that are not there"


def find_captions(images: Images, source: Path, where: str, key: str | None) -> tuple[Captions, Counter[str]]:
    """The captions of the images at `source`, and how many are missing, empty, or of other pictures.

    Of each picture they are stripped, and each counts once. White space within them counts as one space.

    Args:
        where: the path of a table, or `auto`: `metadata.jsonl` or `.csv` at the source or in its folders, which name
            pictures from their own folder on; else a file beside each picture: `.txt` or `.caption`, with one caption
            a line, or `.json`. key: the name of the captions in a table or `.json`, see `tables.KEYS`.

    Raises:
        MissingFileError: there are none.
        UserError: a file is damaged, or of another form; no row names a picture.
    """
    if where == "auto":
        tables = sorted(name for name in images.texts if posixpath.basename(name) in TABLES)
        if len({posixpath.basename(name) for name in tables}) > 1:
            raise UserError(f"{source} holds {tables[0]} and {tables[-1]}: set captions to the file that counts.")
        read = (_below(name, rows_of(images.read_text(name), name, key)) for name in tables)
        rows: Iterator[Row] = chain.from_iterable(read)
    else:
        tables = [where]
        rows = _rows_of_path(Path(where), source, key)
    counts: Counter[str] = Counter()
    found = _by_picture(images, rows, tables[0], counts) if tables else _beside(images, key)
    texts = [_clean(each, counts) for each in found]
    counts[WITHOUT] = sum(not each for each in texts) - counts[EMPTY]
    if not any(texts):
        raise MissingFileError(
            f"There are no captions of the pictures in {source}: write a .txt beside each, or metadata.jsonl, or set "
            "captions to the path of a table."
        )
    return Captions(images.names, texts, images.fingerprint), counts


def _below(table: str, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows of a table, with the folder of it before the names."""
    folder = posixpath.dirname(table)
    return (row._replace(file=posixpath.join(folder, row.file.replace("\\", "/"))) for row in rows)


def _rows_of_path(path: Path, source: Path, key: str | None) -> Iterator[Row]:
    if path.suffix.lower() not in (".json", ".jsonl", ".csv"):
        raise UserError(f"captions={path}: choose auto, or the path of a .jsonl, .csv, or COCO's .json.")
    if not path.is_file():
        raise MissingFileError(f"There is no {path}: set captions to auto, or to the path of a table.")
    rows = rows_of(path.read_bytes(), path.name, key)
    inside = path.resolve().is_relative_to(source.resolve())
    return _below(path.resolve().relative_to(source.resolve()).as_posix() if inside else path.name, rows)


def _by_picture(images: Images, rows: Iterator[Row], table: str, counts: Counter[str]) -> list[list[str]]:
    """The captions of each picture. A name without folders also counts if only one picture has it."""
    numbers: dict[str, int | None] = {_normal(path): number for number, path in enumerate(images.paths)}
    alone = defaultdict(list)
    for path, number in numbers.items():
        alone[posixpath.basename(path)].append(number)
    found: list[list[str]] = [[] for _ in images.paths]
    first = ""
    for row in rows:
        name = _normal(row.file)
        same = alone[posixpath.basename(name)]
        number = numbers.get(name, same[0] if len(same) == 1 else None)
        if number is None:
            first = first or row.file
            counts[STRANGE] += len(row.captions)
        else:
            found[number] += row.captions
    if first and not any(found):
        raise UserError(
            f"{table} names no picture of the source, such as {first!r}: write paths from its own folder on, such as "
            f"{images.paths[0]!r}."
        )
    return found


def _normal(path: str) -> str:
    """A path as it is compared: macOS writes letters with accents as two characters."""
    return unicodedata.normalize("NFC", posixpath.normpath(path.replace("\\", "/")))


def _beside(images: Images, key: str | None) -> Iterator[list[str]]:
    stem_of = _key_in_tar if isinstance(images, TarImages) else _stem
    known = {f"{stem_of(name)}{posixpath.splitext(name)[1].lower()}": name for name in images.texts}
    for picture in images.names:
        names = (known.get(f"{stem_of(picture)}{suffix}") for suffix in BESIDE)
        name = next((name for name in names if name), None)
        if name is None:
            yield []
            continue
        text = decoded(images.read_text(name), name)
        yield _in_json(text, name, key) if name.lower().endswith(".json") else text.split("\n")


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _key_in_tar(name: str) -> str:
    archive, _, path = name.partition(": ")
    return f"{archive}: {key_of(path)}"


def _in_json(text: str, name: str, key: str | None) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is no JSON ({error}): restore it.") from error
    where = column(found, name, key) if isinstance(found, dict) else None
    return captions_in(found[where], name) if where else []


def _clean(captions: list[str], counts: Counter[str]) -> list[str]:
    texts = [" ".join(each.split()).encode(errors="replace").decode() for each in captions]
    kept = list(dict.fromkeys(text for text in texts if text))
    counts[EMPTY] += len(texts) > 0 and not kept
    return kept
