"""The captions of a set of pictures."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmp_lightning.files import DamagedError


@dataclass(frozen=True)
class Captions:
    """`texts` of each picture, none or several, and the pictures' `names`, both in the order of the pictures.

    `pictures` names the set of pictures, see `Images.fingerprint`.
    """

    names: Sequence[str]
    texts: Sequence[Sequence[str]]
    pictures: str

    @property
    def all(self) -> list[str]:
        """All captions, picture by picture."""
        return [text for each in self.texts for text in each]

    def to_bytes(self) -> bytes:
        """As JSON, one line a picture."""
        pairs = zip(self.names, self.texts, strict=True)
        lines = ({"picture": name, "captions": list(texts)} for name, texts in pairs)
        return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode()


def read_captions(path: Path, pictures: str) -> Captions:
    """Captions as `Captions.to_bytes` wrote them.

    Raises:
        DamagedError: it is something else.
    """
    try:
        lines = [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]
        texts = [_strings(line["captions"]) for line in lines]
        return Captions(_strings([line["picture"] for line in lines]), texts, pictures)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} does not hold captions as they are written ({error}): encode again.") from error


def hash_of(content: bytes) -> str:
    """The SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def _strings(found: Any) -> list[str]:
    if not (isinstance(found, list) and all(isinstance(each, str) for each in found)):
        raise TypeError("not a list of texts")
    return found
