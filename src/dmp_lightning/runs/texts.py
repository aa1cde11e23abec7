"""Texts of anybody made fit to be shown: on a terminal, in Markdown, in a table of numbers, and as a file's name."""

import re
import unicodedata
from hashlib import sha256
from typing import Any

MOST = 200  # characters of a text that is shown
FORMULA = ("=", "+", "-", "@")
"""With these a spreadsheet begins a formula."""

# Control characters, marks that turn the direction of all text that follows, and halves of characters.
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = re.compile(r"[\\`*{}\[\]|$~]|(?<!\w)_|_(?!\w)")


def visible(text: Any) -> str:
    """The text with what is hidden in it written out, as `\\x1b`; line ends and tabs become spaces."""
    return _HIDDEN.sub(lambda found: _spelt(found[0]), str(text))


def visible_all(content: Any) -> Any:
    """Content of a JSON file with all its texts made `visible`, those of keys too."""
    if isinstance(content, dict):
        return {visible(key): visible_all(value) for key, value in content.items()}
    if isinstance(content, list):
        return [visible_all(value) for value in content]
    return visible(content) if isinstance(content, str) else content


def cut(text: str) -> str:
    """The text itself, or the beginning of a long one with a digest of the whole: two that differ still do."""
    return text if len(text) <= MOST else f"{text[: MOST - 12]}… {sha256(text.encode()).hexdigest()[:8]}"


def in_markdown(text: str) -> str:
    """The text as itself in Markdown: neither HTML, nor links, nor marks, nor the end of a table's cell."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_code(text: str) -> str:
    """The text as code in Markdown, also in a table's cell."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    edge = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{edge}{text}{edge}{fence}".replace("|", "\\|")


def in_csv(value: Any) -> Any:
    """The value; a text that a spreadsheet would compute as a formula has an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def slug(text: str, most: int = 100) -> str:
    """A part of a file's name, of at most so many bytes."""
    name = "".join(letter if letter.isalnum() else "-" for letter in unicodedata.normalize("NFC", text).lower())
    return name.encode()[:most].decode(errors="ignore")


def _spelt(letter: str) -> str:
    if letter in "\t\n\r\x0b\x0c\u2028\u2029":
        return " "
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}"
