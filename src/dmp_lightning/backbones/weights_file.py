"""Files of weights as people publish them: by their content, whatever their name; what they hold is data."""

import argparse
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dmp_lightning.user_error import MissingFileError, UserError

INDEX = ".index.json"
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
BEGINNING = 512  # bytes of a file that say what it is
REMEDY = "set backbone.weights to the base's .safetensors or .pt file, or make one with a pre-training experiment."
RAISED = (
    SafetensorError, zipfile.BadZipFile, pickle.UnpicklingError, EOFError, RuntimeError, OSError, ValueError, KeyError,
)  # fmt: skip
"""Errors that torch and safetensors raise on files that they cannot read."""


def read_content(path: Path) -> dict[str, Any]:
    """All that a file holds, or the shards that an index names, or the one file of weights in a folder.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no file of weights, is damaged, or holds more than tensors and plain values.
    """
    path = _find_file(path)
    if path.name.endswith(INDEX):
        return _read_shards(path)
    try:
        content = load_file(path) if _is_safetensors(path) else _load_pickle(path)
    except RAISED as error:
        raise UserError(f"{path} is not a readable weights file: {_what_is_wrong(path, error)}.") from error
    return content if isinstance(content, dict) else {}


def _find_file(path: Path) -> Path:
    """The file itself, or the one with weights in a folder, or in its `pretrained_models`."""
    if path.is_file():
        return path
    for folder in (path, path / "pretrained_models"):
        found = sorted(file for file in folder.glob("*") if file.suffix in SUFFIXES or file.name.endswith(INDEX))
        indexes = [file for file in found if file.name.endswith(INDEX)]
        if len(indexes or found) == 1:
            return (indexes or found)[0]
        if found:
            names = ", ".join(file.name for file in found[:5])
            raise UserError(f"{folder} holds several files of weights ({names}): set backbone.weights to one of them.")
    if path.is_dir():
        raise MissingFileError(
            f"{path} holds no file of weights ({', '.join(SUFFIXES)}), and no config.json with "
            f"diffusion_pytorch_model.safetensors, as a model of diffusers has: {REMEDY}"
        )
    raise MissingFileError(f"There are no weights of the base at {path}: {REMEDY}")


def _read_shards(index: Path) -> dict[str, Any]:
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted({str(name) for name in places.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is not a readable index of shards ({error}): download it again.") from error
    content: dict[str, Any] = {}
    for name in shards:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise UserError(f"{index} names the shard {name!r}, which is not beside it: download it too.")
        content |= read_content(index.parent / name)
    lost = sorted(places.keys() - content.keys())
    if lost:
        raise UserError(f"{index} names {lost[0]}, which is in none of its shards: download them again.")
    return content


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        begins = file.read(9)
    return len(begins) == 9 and begins[8:] == b"{" and int.from_bytes(begins[:8], "little") < path.stat().st_size


def _load_pickle(path: Path) -> Any:
    # Public DiT training checkpoints keep their command line beside the weights, as a Namespace of plain values.
    with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
        if path.suffix == ".safetensors" or not zipfile.is_zipfile(path):  # torch would go by the name; or it is old
            return torch.load(file, map_location="cpu", weights_only=True)
        # Mapped, so that of a training checkpoint only the part that is wanted is read.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _what_is_wrong(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        begins = file.read(BEGINNING)
    if not begins:
        return "it is empty: download it again"
    if begins.startswith(b"version https://git-lfs"):
        return "it is only a pointer of Git LFS: get the file with `git lfs pull`, or download it"
    if begins.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page: download the file itself"
    if not isinstance(error, pickle.UnpicklingError):
        return "it is damaged or incomplete: download it again"
    foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
    more = "holds more than tensors"
    what = f"it {more} ({foreign[1]}), which could run code" if foreign else f"it is damaged, or it {more}"
    return f"{what}. Save only its weights, as a mapping of names to tensors"
