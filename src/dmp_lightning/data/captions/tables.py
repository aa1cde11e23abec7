"""Rows of captions: of `metadata.jsonl` and `metadata.csv` as datasets' imagefolder has them, and of COCO's JSON."""

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from dmp_lightning.user_error import UserError

FILE = "file_name"
KEYS = ("text", "caption", "captions", "texts", "prompt")
"""Where a row, or a picture's .json, may have its captions."""


class Row(NamedTuple):
    """The captions of a picture by its file's name, empty ones too."""

    file: str
    captions: list[str]


def rows_of(content: bytes, name: str, key: str | None = None) -> Iterator[Row]:
    """The rows of a table, by the suffix of its `name`.

    Args:
        key: the column with the captions; None for the only one of `KEYS`.

    Raises:
        UserError: it is damaged, or has no captions; the sentence names the line.
    """
    text = decoded(content, name)
    if name.lower().endswith(".json"):
        return _rows_of_coco(text, name)
    return (_rows_of_csv if name.lower().endswith(".csv") else _rows_of_jsonl)(text, name, key)


def decoded(content: bytes, name: str) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark; the mark is taken off.

    Raises:
        UserError: it is of another encoding.
    """
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not in UTF-8 (byte {error.start} is 0x{content[error.start]:02x}): convert it, such as by "
            "`iconv -f cp1252 -t utf-8`."
        ) from error


def captions_in(value: Any, place: str) -> list[str]:
    """The captions in a value: one text, a list of them, or none where it is null or NaN, as pandas writes it.

    Raises:
        UserError: it is something else.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(each is None or isinstance(each, str) for each in value):
        return [each or "" for each in value]
    raise UserError(f"{place} has a caption that is no text ({str(value)[:40]}): write a text, or a list of texts.")


def column(found: Any, place: str, key: str | None) -> str | None:
    """The name of the column that has the captions, among those that are `found`; None without any.

    Raises:
        UserError: there are several.
    """
    known = [name for name in (KEYS if key is None else (key,)) if name in found]
    if len(known) > 1:
        raise UserError(f"{place} has {' and '.join(known)}: set caption_key to the one that holds the captions.")
    return known[0] if known else None


def _rows_of_jsonl(text: str, name: str, key: str | None) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{name}, line {number},"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place} is no JSON ({error}): write one object a line.") from error
        if not isinstance(found, dict) or not isinstance(found.get(FILE), str):
            raise UserError(f'{place} has no {FILE}: write {{"{FILE}": "a.jpg", "text": "..."}}.')
        where = column(found, place, key)
        yield Row(found[FILE], captions_in(found[where], place) if where else [])


def _rows_of_csv(text: str, name: str, key: str | None) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [str(each).strip() for each in reader.fieldnames or ()]
        reader.fieldnames = header
        where = column(header, name, key)
        if FILE not in header or where is None:
            raise UserError(
                f"{name} has the columns {', '.join(header)[:80]}: name them {FILE} and {key or 'text'}, with commas "
                "between them."
            )
        for row in reader:
            if None in row:
                raise UserError(
                    f"{name}, line {reader.line_num}, has more fields than the header: put captions that hold a comma "
                    "between double quotes."
                )
            yield Row(row[FILE], captions_in(row[where], name))
    except csv.Error as error:
        raise UserError(
            f"{name} is no CSV after line {reader.line_num} ({error}): mend its quotes, or write metadata.jsonl."
        ) from error


def _rows_of_coco(text: str, name: str) -> Iterator[Row]:
    try:
        content = json.loads(text)
        files = {image["id"]: image[FILE] for image in content["images"]}
        for annotation in content["annotations"]:
            found = captions_in(annotation["caption"], f"{name}, annotation {annotation.get('id')},")
            yield Row(files.get(annotation["image_id"], ""), found)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{name} does not hold captions as COCO's captions_train2017.json does ({type(error).__name__}: {error}): "
            "set captions to such a file."
        ) from error
