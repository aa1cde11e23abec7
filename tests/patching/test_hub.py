"""Loading a patch by the name of its repository, from a hub's cache that the test has filled; there is no network."""

import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import dmp_lightning as dmp
from tests.backbones.tiny import build
from tests.methods.test_contract import base

COMMIT = "ab" * 20


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, as huggingface_hub lays it out."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def published(cache: Path) -> torch.Tensor:
    """Put a patch of a DiT into the cache as someone/patch; its prompts."""
    patch = dmp.attach(base(), init="normal")
    folder = cache / "models--someone--patch"
    patch.save(folder / "snapshots" / COMMIT / "patch.safetensors")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return patch.method.mixture.prompts


@pytest.mark.parametrize("name", ["someone/patch", "someone/patch@main", f"someone/patch@{COMMIT}"])
def test_what_is_cached_is_loaded_by_name(cache: Path, name: str) -> None:
    prompts = published(cache)
    assert torch.equal(dmp.load(base(), name).method.mixture.prompts, prompts)


def test_a_folder_or_file_of_that_name_comes_first(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(cache)
    monkeypatch.chdir(tmp_path)
    patch = dmp.attach(base(), init="normal")
    patch.save("someone/patch/patch.safetensors")
    for name in ("someone/patch", Path("someone/patch"), "someone/patch/patch.safetensors"):
        assert torch.equal(dmp.load(base(), name).method.mixture.prompts, patch.method.mixture.prompts)
    shutil.move("someone/patch/patch.safetensors", "x")
    assert torch.equal(dmp.load(base(), "x").method.mixture.prompts, patch.method.mixture.prompts)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("someone/other", r"no folder someone/other, the hub's cache holds no patch\.safetensors .* go online once"),
        ("someone/patch@1.0", r"no folder someone/patch@1\.0, the hub's cache holds no"),
        ("a--b/c..d", r"no patch at a--b/c\.\.d, and no repository can have this name"),
        ("someone/patch.safetensors", r"There is no patch at someone/patch\.safetensors"),
        ("../../someone/patch", r"There is no patch at \.\./\.\./someone/patch"),
    ],
)
def test_what_is_missing_is_told(cache: Path, name: str, said: str) -> None:
    published(cache)
    model = base()
    with pytest.raises(dmp.UserError, match=said):
        dmp.load(model, name)
    assert not model.attached_patches


def test_a_patch_of_our_dit_does_not_go_onto_the_one_of_diffusers(tmp_path: Path) -> None:
    """Even with the same weights: the two number their prompts' places and embed the timestep in their own ways."""
    dmp.attach(base()).save(tmp_path / "ours.safetensors")
    dmp.attach(build("DiTTransformer2DModel")).save(tmp_path / "theirs.safetensors")
    with pytest.raises(dmp.UserError, match="is a patch of a DiT of dmp-lightning, not of a DiTTransformer2DModel"):
        dmp.load(build("DiTTransformer2DModel"), tmp_path / "ours.safetensors")
    with pytest.raises(dmp.UserError, match="is a patch of a DiTTransformer2DModel, not of a DiT of dmp-lightning"):
        dmp.load(base(), tmp_path / "theirs.safetensors")
