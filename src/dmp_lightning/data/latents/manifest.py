"""The files that describe a store of latents: `manifest.json`, the plan, and the record of each shard."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dmp_lightning.files import read_json, write_json
from dmp_lightning.folders import component
from dmp_lightning.user_error import UserError

MANIFEST = "manifest.json"
SHARDS = ".safetensors"  # how their names end
FORMAT = 2
READABLE = (1, FORMAT)
"""Stores of format 1 do not say which images are held out."""


@dataclass(frozen=True)
class Shard:
    """One file of a store: `count` latents, its SHA-256, and the images that could not be read.

    `notes` counts the images that were changed to show them as they are, by the change: "composed on white".
    """

    name: str
    count: int
    sha256: str
    skipped: tuple[str, ...] = ()
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The images to encode and how: all that the bytes of a store depend on.

    `shape` is (C, H, W) of a latent, which is `(moment - shift) * scale` for the model, with numbers or one for each
    channel; with `scaled` it is stored so. `vae_sha256` is the hash of the VAE's weights. `classes` are the names of
    the labels in their order, if they have names. `held_out` is how many images at the end the source sets apart, if it
    does. `images` counts those of the source, `shard_images` those of a shard, unreadable ones included. `mirrors` is 2
    if each image's mirror is stored too, else 1; `moments` is 2 for a mean and a standard deviation, 1 for a latent
    that is drawn already. `background` is what transparent pictures were composed on; earlier versions took the hidden
    colours, and have None.
    """

    shape: tuple[int, int, int]
    scale: float | tuple[float, ...]
    shift: float | tuple[float, ...]
    vae: str
    vae_sha256: str | None
    resolution: int
    crop: str
    source: str
    images: int
    shard_images: int
    num_classes: int
    classes: tuple[str, ...] | None
    held_out: int | None
    mirrors: int = 2
    moments: int = 2
    scaled: bool = False
    background: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A complete store: `count` latents in `shards`.

    `held_out` are the indices of those that were drawn for the validation loss, in order; None if the source sets some
    apart itself, and in format 1.
    """

    plan: Plan
    count: int
    shards: tuple[Shard, ...]
    held_out: tuple[int, ...] | None = None


def differences(one: Any, other: Any) -> list[str]:
    """The names of the fields that differ in two plans, with both values if they are short."""
    values = {each.name: (getattr(one, each.name), getattr(other, each.name)) for each in fields(one)}
    return [
        f"{name} ({mine}, not {its})" if len(f"{mine}{its}") <= 40 else name
        for name, (mine, its) in values.items()
        if mine != its
    ]


def write_record(record: Any, path: Path, version: int = FORMAT) -> None:
    """Write a dataclass as JSON, whole or not at all."""
    write_json({"format": version, **asdict(record)}, path, indent=1)


def read_plan(path: Path) -> Plan:
    """Read a plan; errors as of `read_manifest`."""
    return read_record(path, _plan)


def read_shard(path: Path) -> Shard:
    """Read the record of a shard; errors as of `read_manifest`."""
    return read_record(path, shard_of)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: it is damaged, or of another version of the format.
    """
    return read_record(path, _manifest)


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest, maybe damaged or of another version, and no other JSON."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"format", "plan", "shards"} <= content.keys()


def read_record(
    path: Path, build: Callable[..., Any], what: str = "latents", readable: Sequence[int] = READABLE
) -> Any:
    """What `build` makes of the content of a record; errors as of `read_manifest`.

    Args:
        what: the store holds. readable: versions of the format.
    """
    try:
        content = read_json(path)
        version = content.pop("format")
        if version not in readable:
            raise UserError(f"format {version}, not {readable[-1]}")
        return build(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{path} does not describe {what} ({reason}): restore it, or encode again.") from error


def _manifest(plan: Any, count: int, shards: Any, held_out: Any = None) -> Manifest:
    drawn = None if held_out is None else tuple(held_out)
    return Manifest(_plan(**plan), count, tuple(shard_of(**shard) for shard in shards), drawn)


def _plan(shape: Any, **rest: Any) -> Plan:
    channels, height, width = shape
    lists = {name: tuple(value) for name, value in rest.items() if isinstance(value, list)}
    return Plan((channels, height, width), **rest | lists)


def shard_of(name: str, skipped: Any, **rest: Any) -> Shard:
    """A shard from a record of anybody: its name must not leave the store's folder."""
    if not component(name, "name of a shard").endswith(SHARDS):
        raise UserError(f"the shard {name!r} does not end in {SHARDS}")
    if not re.fullmatch(r"[0-9a-f]{64}", str(rest.get("sha256"))):
        raise UserError(f"the shard {name!r} has no SHA-256")
    return Shard(name, skipped=tuple(skipped), **rest)
