"""The files that describe a store of texts: `manifest.json`, and the plan of one that is being encoded."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dmp_lightning.data.latents.manifest import Shard, read_record, shard_of, write_record
from dmp_lightning.user_error import UserError

FOLDER = "texts"
"""Of the texts, in the folder of the latents."""
CAPTIONS = "captions.jsonl"
FORMAT = 1
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float8_e4m3fn": torch.float8_e4m3fn,
}
STATES = ("text", "text2")


@dataclass(frozen=True)
class Encoding:
    """A text encoder and what it gives: all that the states of a text depend on, besides the text.

    Args:
        encoder: a folder or a repository, `revision`: its commit, where known. sha256: of the encoder's weights.
        layer: which of its states, in words. lengths: most tokens of `text` and `text2`; longer texts are cut.
        masked: whether the model is told which tokens are there; if it is not, a text has as many as it may have.
        fixed: whether a masked text has as many, too, padded with zeros.
    """

    encoder: str
    revision: str | None
    sha256: str
    layer: str
    lengths: dict[str, int]
    masked: bool
    fixed: bool = False


@dataclass(frozen=True)
class Plan:
    """Texts to encode and how: all that the bytes of a store depend on.

    Args:
        widths: of the numbers for a token of `text` and `text2`, and for the whole text: `pooled`.
        dtype: one of `DTYPES`. pictures, captions: how many, without the empty text, which is the last one.
        source: the fingerprint of the pictures. captions_sha256: of the file with the captions.
        shard_texts: texts of a shard.
    """

    encoding: Encoding
    widths: dict[str, int]
    dtype: str
    pictures: int
    captions: int
    source: str
    captions_sha256: str
    shard_texts: int


@dataclass(frozen=True)
class Manifest:
    """A complete store of texts."""

    plan: Plan
    shards: tuple[Shard, ...]


def write_plan(plan: Plan | Manifest, path: Path) -> None:
    """Write a plan or a manifest, whole or not at all."""
    write_record(plan, path, FORMAT)


def read_plan(path: Path) -> Plan:
    """Read a plan; errors as of `read_manifest`."""
    return read_record(path, _plan, "texts", [FORMAT])


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: it is damaged, or of another version of the format.
    """
    return read_record(path, _manifest, "texts", [FORMAT])


def files_of(manifest: Manifest) -> list[Shard]:
    """All files of a store besides the manifest."""
    return [Shard(CAPTIONS, manifest.plan.captions, manifest.plan.captions_sha256), *manifest.shards]


def _manifest(plan: Any, shards: Any) -> Manifest:
    return Manifest(_plan(**plan), tuple(shard_of(**shard) for shard in shards))


def _plan(encoding: Any, **rest: Any) -> Plan:
    """A plan from a record of anybody."""
    found = Plan(Encoding(**encoding), **rest)
    lengths, widths = found.encoding.lengths, found.widths
    numbers = [*lengths.values(), *widths.values(), found.pictures, found.captions + 1, found.shard_texts]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise UserError("a size in it is no positive whole number")
    if "text" not in lengths or not lengths.keys() <= set(STATES) or widths.keys() - {"pooled"} != lengths.keys():
        raise UserError(f"it has states {', '.join(lengths)} of widths {', '.join(widths)}")
    if found.dtype not in DTYPES:
        raise UserError(f"dtype {found.dtype!r} is none of {', '.join(DTYPES)}")
    if not re.fullmatch(r"[0-9a-f]{64}", str(found.captions_sha256)):
        raise UserError("the captions have no SHA-256")
    return found
