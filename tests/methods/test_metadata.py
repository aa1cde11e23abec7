"""The metadata of a patch file, as others read it: by safetensors itself, and by the hash of the file's bytes."""

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

import dmp_lightning as dmp
from dmp_lightning.methods import read_patch
from tests.backbones.tiny import build
from tests.methods.test_contract import base


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def specified(path: Path) -> dict[str, str]:
    """The keys of the standard, without their prefix."""
    found = metadata(path)
    return {key.removeprefix("modelspec."): text for key, text in found.items() if key.startswith("modelspec.")}


def saved(model: torch.nn.Module, path: Path, **about: Any) -> Path:
    dmp.attach(model).save(path, **about)
    return path


def test_the_standards_keys_are_there(tmp_path: Path) -> None:
    path = saved(base(), tmp_path / "x.safetensors")
    found = specified(path)
    assert {"sai_model_spec", "architecture", "implementation", "title", "date", "hash_sha256"} == found.keys()
    assert (found["sai_model_spec"], found["architecture"], found["title"]) == ("1.0.0", "DiT/dmp", "DMP on DiT")
    assert abs(datetime.date.fromisoformat(found["date"]) - datetime.datetime.now(datetime.UTC).date()).days <= 1


def test_the_hash_is_that_of_all_bytes_behind_the_header(tmp_path: Path) -> None:
    path = saved(base(), tmp_path / "x.safetensors")
    content = path.read_bytes()
    data = content[8 + int.from_bytes(content[:8], "little") :]
    assert specified(path)["hash_sha256"] == f"0x{hashlib.sha256(data).hexdigest()}"
    assert len(data) == sum(value.nbytes for value in load_file(path).values())


def test_what_the_user_says_is_shown_as_it_is(tmp_path: Path) -> None:
    text = 'Ünï\n"quoted" \\ {"checksum": "' + "f" * 64 + '"} \x00\x7f <b> ${oc.env:HOME} 漢字 \ud800'
    given = {"title": text, "description": text, "author": "A", "license": "mit", "note": text}
    path = saved(base(), tmp_path / "x.safetensors", **given)
    found = specified(path)
    shown = text.replace("\ud800", "?")
    assert (found["title"], found["description"], found["author"], found["license"]) == (shown, shown, "A", "mit")
    about = read_patch(path).about  # whose own checksum is still found
    assert {name: about[name] for name in given} == given
    dmp.load(base(), path)


def test_a_model_of_diffusers_is_named_with_what_it_predicts(tmp_path: Path) -> None:
    model = build("SD3Transformer2DModel")
    hub = "models--someone--sd3/snapshots/" + "ab" * 20
    model.register_to_config(_name_or_path=f"/home/me/.cache/huggingface/hub/{hub}/transformer")
    path = saved(model, tmp_path / "x.safetensors")
    found, about = specified(path), json.loads(metadata(path)["about"])
    assert found["architecture"] == "SD3Transformer2DModel/dmp"
    assert (found["title"], found["prediction_type"]) == ("DMP on someone/sd3", "velocity")
    assert (about["base"]["repo"], about["base"]["revision"]) == ("someone/sd3", "ab" * 20)
    assert about["base"]["process"] == {
        "predicts": "velocity", "last": 1000.0, "reversed": False, "learned_variance": False, "sign": 1,
    }  # fmt: skip
    assert about["method"]["grid"] == [4, 4]


def test_files_of_earlier_versions_are_loaded(tmp_path: Path) -> None:
    """Without a key of the standard: as version 1.7 wrote them."""
    from dmp_lightning.methods.patches import fingerprint
    from dmp_lightning.tensors import save_tensors

    patch = dmp.attach(base())
    tensors = {name: torch.randn_like(value) for name, value in patch.method.exported().items()}
    about = {"base": fingerprint(base()), "method": patch._about, "name": "digits", "seed": 0, "step": 6}
    save_tensors(tensors, tmp_path / "x.safetensors", about)
    loaded = dmp.load(base(), tmp_path / "x.safetensors")
    assert all(torch.equal(value, tensors[name]) for name, value in loaded.method.exported().items())
