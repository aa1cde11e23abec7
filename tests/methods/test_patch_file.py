"""What goes wrong with a patch file is told in one sentence."""

from functools import partial
from pathlib import Path

import pytest
import torch

from dmp_lightning.methods import DMP, PromptTuning, load_patch, save_patch
from dmp_lightning.methods.patches import fingerprint
from dmp_lightning.prompts import LinearGate
from tests.methods.test_contract import BALANCE, CASES, base


def saved(folder: Path, name: str = "dmp") -> Path:
    method = CASES[name].build(base())
    save_patch(method.exported(), folder / "patch.safetensors", fingerprint(base()), {})
    return folder / "patch.safetensors"


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no patch at .*nowhere"):
        load_patch(CASES["dmp"].build(base()), tmp_path / "nowhere")


def test_equal_patches_are_equal_files(tmp_path: Path) -> None:
    assert len({saved(tmp_path).read_bytes() for _ in range(8)}) == 1


def test_damaged(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        load_patch(CASES["dmp"].build(base()), path)


def test_of_another_base(tmp_path: Path) -> None:
    path, other = saved(tmp_path), base()
    torch.nn.init.normal_(other.final_layer.linear.bias)
    with pytest.raises(ValueError, match="another base"):
        load_patch(CASES["dmp"].build(other), path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_patch_of_a_rounded_base_goes_onto_the_exact_one(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "patch.safetensors"
    method = CASES["dmp"].build(base())
    torch.nn.init.normal_(method.mixture.prompts)
    save_patch(method.exported(), path, fingerprint(base().bfloat16()), {})
    loaded = load_patch(CASES["dmp"].build(base().to(dtype)), path)
    assert torch.equal(loaded.mixture.prompts, method.mixture.prompts)


def test_a_patch_of_the_exact_base_does_not_go_onto_a_rounded_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another base"):
        load_patch(CASES["dmp"].build(base().bfloat16()), saved(tmp_path))


@pytest.mark.parametrize(
    ("method", "named"),
    [
        (PromptTuning, "mixture.gate.bias is .* in the file, but nothing in the method"),
        (partial(DMP, gate=LinearGate, balance=BALANCE, injection="first:1"), "mixture.prompts"),
    ],
)
def test_of_another_method_or_options(tmp_path: Path, method: partial, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        load_patch(method(base()), saved(tmp_path))


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        saved(tmp_path, "dmp_first")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_condition_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"method\.condition='noise'"):
        DMP(base(), LinearGate, BALANCE, condition="noise")
