"""The file that a run ships: a patch (or whole weights) as safetensors, tied to the base it was trained on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dmp_lightning.backbones import Adapter, Backbone
from dmp_lightning.backbones.identity import check_identity, identity
from dmp_lightning.files import CHECKSUM
from dmp_lightning.methods.base import Method
from dmp_lightning.methods.modelspec import modelspec
from dmp_lightning.tensors import check_tensors, hash_tensors, save_tensors
from dmp_lightning.user_error import MissingFileError, UserError

UNSEALED = frozenset({"base", "method", "name", "seed", "step"})
"""Keys of `about` in the files of versions that wrote no checksum."""


def fingerprint(backbone: nn.Module) -> str:
    """SHA-256 of a backbone's weights, names and shapes, and of what it computes otherwise than the release."""
    return _otherwise(backbone, hash_tensors(backbone.state_dict(), typed=True))


def _otherwise(backbone: nn.Module, found: str) -> str:
    frequencies = getattr(backbone, "timestep_frequencies", "release")
    return found if frequencies == "release" else hashlib.sha256(f"{found} {frequencies}".encode()).hexdigest()


def base_of(method: Method) -> str | dict[str, Any]:
    """The description of a base in a patch file: the `fingerprint` of a DiT, the `identity` of a model of diffusers."""
    backbone = method.backbone
    if not isinstance(backbone, Adapter):
        return fingerprint(backbone)
    return identity(backbone.model) | {"process": backbone.family.process._asdict()}


def save_patch(tensors: dict[str, Tensor], path: Path, base: str | dict[str, Any], about: dict) -> None:
    """Write `tensors` (as `Method.exported` gives them) with `base`, see `base_of`, and `about` as metadata."""
    save_tensors(tensors, path, about | {"base": base}, modelspec(base, about))


class PatchFile(NamedTuple):
    """The content of a patch file: `tensors` by name, their `base`, see `base_of`, and `about`, the rest of it."""

    tensors: dict[str, Tensor]
    base: str | dict[str, Any] | None
    about: dict[str, Any]


def is_patch(path: Path) -> bool:
    """Whether a file is a patch, or other weights that a run of ours has shipped."""
    try:
        with safe_open(path, "pt") as file:
            return "base" in json.loads((file.metadata() or {}).get("about", "{}"))
    except (SafetensorError, OSError, ValueError, TypeError):
        return False


def read_patch(path: str | Path) -> PatchFile:
    """Read a patch file.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no patch at {path}: name the patch.safetensors of a run.")
    try:
        sealed = check_tensors(path)
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:  # of containers nested by the thousand
        raise UserError(f"{path} is damaged, or not a patch: copy it again, or export it again.") from error
    if not isinstance(about, dict):
        raise UserError(f"{path} is not a patch: its description is not a mapping.")
    about.pop(CHECKSUM, None)
    if not (sealed or about.keys() <= UNSEALED):  # or what was the checksum is something else now
        raise UserError(f"{path} is damaged: it has no checksum. Copy it again, or export it again.")
    return PatchFile(tensors, about.get("base"), about)


def load_patch(method: Method, path: str | Path, strength: float = 1.0) -> Method:
    """Load a patch into `method`, which was built on the same base with the same options, and return it.

    A patch of a base whose weights were held in bfloat16 goes onto the same base in float32 as well.

    Args:
        strength: how many times the patch's contribution counts, see `Method.scale`.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is damaged, made for another base, or its tensors do not fit the method; or this one has no
            strength.
    """
    found = read_patch(path)
    check_kind(method.backbone, found, path)
    return put_on(method, found, path, strength)


@torch.no_grad()
def put_on(method: Method, found: PatchFile, path: str | Path, strength: float = 1.0) -> Method:
    """As `load_patch`, of a file that was read and has passed `check_kind`."""
    tensors = found.tensors
    if not isinstance(method.backbone, Adapter):
        _check_fingerprint(method, found.base, path)
    expected = method.exported()
    check_shapes(expected, tensors, path)
    if strength != 1:
        tensors = method.scale(tensors, strength)
    for name, value in expected.items():
        value.copy_(tensors[name])
    return method


def check_kind(backbone: Backbone, found: PatchFile, path: str | Path) -> None:
    """Make sure that a patch file is one of a DiT, or of this very model of diffusers.

    Raises:
        UserError: it is not.
    """
    if isinstance(backbone, Adapter):
        check_identity(backbone.model, found.base, path)
    elif isinstance(found.base, dict):
        raise UserError(f"{path} is a patch of a {found.base.get('class')}, not of a DiT of dmp-lightning.")


def _check_fingerprint(method: Method, base: object, path: str | Path) -> None:
    ours, rounded = (
        _otherwise(method.backbone, hash_tensors(method.base(), typed=True, dtype=kept))
        for kept in (None, torch.bfloat16)
    )
    if base not in (ours, rounded):
        raise UserError(
            f"{path} was trained on another base (weights of SHA-256 {str(base)[:12]}...) than the one loaded here "
            f"({ours[:12]}...): load the weights of its base."
        )


def check_shapes(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Make sure that the `tensors` of a patch file are those that a method has.

    Raises:
        UserError: a name or a shape differs.
    """
    for name in sorted(expected.keys() | tensors.keys()):
        here, there = (tuple(held[name].shape) if name in held else "nothing" for held in (expected, tensors))
        if here != there:
            raise UserError(
                f"{path}: {name} is {there} in the file, but {here} in the method: build it with the same options."
            )
