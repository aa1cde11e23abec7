import argparse
import json
import logging
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dmp_lightning.backbones import Backbone, load_weights

ALSO = "it also holds {}: choose with backbone.part"
ARGS = argparse.Namespace(model="DiT-XL/2", epochs=1400, results_dir="results")


class Touch:
    """Unpickles by creating a file: what a hostile checkpoint would do, with something worse."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class Small(Backbone):
    """As little as has weights of several names and shapes."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 2), nn.Linear(2, 1)


def model():
    return Small()


def weights(value):
    return {name: torch.full_like(tensor, value) for name, tensor in model().state_dict().items()}


def is_filled_with(module, value):
    return all((tensor == value).all() for tensor in module.state_dict().values())


@pytest.mark.parametrize(
    ("content", "choice", "value", "taken"),
    [
        pytest.param(weights(1.0), None, 1.0, "bare weights", id="bare"),
        pytest.param({"ema": weights(2.0)}, None, 2.0, "ema", id="ema"),
        pytest.param({"model": weights(3.0)}, None, 3.0, "model", id="model"),
        pytest.param(
            {"model": weights(1.0), "ema": weights(2.0), "args": ARGS},
            None,
            2.0,
            "ema; " + ALSO.format("model"),
            id="both",
        ),
        pytest.param(
            {"model": weights(1.0), "ema": weights(2.0), "args": ARGS},
            "model",
            1.0,
            "model; " + ALSO.format("ema"),
            id="chosen",
        ),
    ],
)
def test_a_pt_file_is_loaded_and_the_log_says_which_part(tmp_path, caplog, content, choice, value, taken):
    torch.save(content, tmp_path / "base.pt")
    with caplog.at_level(logging.INFO):
        loaded = load_weights(model(), tmp_path / "base.pt", choice)
    assert is_filled_with(loaded, value)
    assert caplog.messages == [f"Base weights: {tmp_path / 'base.pt'} ({taken})"]


def test_a_safetensors_file_is_loaded(tmp_path):
    save_file(weights(4.0), tmp_path / "base.safetensors")
    assert is_filled_with(load_weights(model(), tmp_path / "base.safetensors"), 4.0)


def without(name):
    return {key: value for key, value in weights(1.0).items() if key != name}


@pytest.mark.parametrize(
    ("content", "choice", "message"),
    [
        pytest.param(without("last.bias"), None, r"lacks last\.bias, which .* needs: choose", id="missing"),
        pytest.param(
            {"x": torch.ones(1)}, None, r"lacks first\.bias, first\.weight, last\.bias and 1 more", id="many missing"
        ),
        pytest.param(
            weights(1.0) | {"other.bias": torch.ones(1)}, None, r"has other\.bias, which .* lacks: choose", id="extra"
        ),
        pytest.param(
            weights(1.0) | {"first.weight": torch.ones(2, 4)},
            None,
            r"first\.weight has shape \(2, 4\).*\(2, 3\)",
            id="shape",
        ),
        pytest.param(weights(1.0), "ema", "has no part named 'ema'; it holds bare weights", id="no such part"),
        pytest.param({"model": weights(1.0)}, "ema", "has no part named 'ema'; it holds model", id="another part"),
        pytest.param({"ema": {"step": 3}}, None, "must map names to tensors", id="no tensors"),
        pytest.param([torch.ones(1)], None, "must map names to tensors", id="a list"),
        pytest.param({}, None, "must map names to tensors", id="nothing"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(tmp_path, content, choice, message):
    torch.save(content, tmp_path / "base.pt")
    untouched = model()
    before = {name: tensor.clone() for name, tensor in untouched.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(untouched, tmp_path / "base.pt", choice)
    assert all(torch.equal(before[name], tensor) for name, tensor in untouched.state_dict().items())


def saved(suffix):
    """The bytes of a good file."""
    path = Path(f"whole{suffix}")
    save_file(weights(1.0), path) if suffix == ".safetensors" else torch.save(weights(1.0), path)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: whole[: len(whole) // 2], id="truncated"),
        pytest.param(lambda whole: whole[:-1], id="last byte lost"),
        pytest.param(lambda whole: b"hello world\n", id="text"),
        pytest.param(lambda whole: b"<!DOCTYPE html><html>", id="web page"),
        pytest.param(lambda whole: pickle.dumps({"a": 1})[:-3], id="half a pickle"),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, monkeypatch, suffix, damage):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"base{suffix}"
    path.write_bytes(damage(saved(suffix)))
    with pytest.raises(ValueError, match=r"is not a readable weights file"):
        load_weights(model(), path)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    trace = tmp_path / "trace"
    torch.save({"ema": weights(1.0), "args": Touch(trace)}, tmp_path / "base.pt")
    with pytest.raises(ValueError, match="holds more than tensors"):
        load_weights(model(), tmp_path / "base.pt")
    assert not trace.exists()
    torch.load(tmp_path / "base.pt", weights_only=False)
    assert trace.exists(), "the file is harmless, so this test shows nothing"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"base\.pt: set backbone\.weights"):
        load_weights(model(), tmp_path / "base.pt")


def under(prefix, value=1.0):
    return {f"{prefix}{name}": tensor for name, tensor in weights(value).items()}


OPTIMISER = {"state": {0: {"exp_avg": torch.ones(2)}}, "exp_avg": weights(9.0)}


@pytest.mark.parametrize(
    ("content", "part", "value", "said"),
    [
        (under("module."), None, 1.0, "bare weights; removed module. from the names"),
        (under("_orig_mod."), None, 1.0, "bare weights; removed _orig_mod. from the names"),
        (under("module._orig_mod."), None, 1.0, "bare weights; removed module. and _orig_mod. from the names"),
        (under("model."), None, 1.0, "model; removed model. from the names"),
        (under("some.net."), None, 1.0, "some.net; removed some.net. from the names"),
        (
            {("_orig_mod." if "first" in name else "") + name: value for name, value in weights(1.0).items()},
            None,
            1.0,
            "bare weights; removed _orig_mod. from the names",
        ),
        ({"state_dict": under("model.") | {"vae.x": torch.ones(1)}, "epoch": 3, "optimizer": OPTIMISER}, None, 1.0,
         "state_dict; removed model. from the names; ignored 1 other tensor"),
        (under("model.") | under("ema_model.", 2.0), None, 2.0,
         "ema_model; removed ema_model. from the names; ignored 4 other tensors; " + ALSO.format("model")),
        (under("model.") | under("ema_model.", 2.0), "model", 1.0,
         "model; removed model. from the names; ignored 4 other tensors; " + ALSO.format("ema_model")),
        ({"model_ema": weights(2.0), "model": weights(1.0)}, None, 2.0, "model_ema; " + ALSO.format("model")),
        ({"ema": weights(2.0), "ema2": weights(3.0)}, None, 2.0, "ema; " + ALSO.format("ema2")),
        ({"ema": [weights(2.0), weights(3.0)]}, "ema.1", 3.0, "ema.1; " + ALSO.format("ema.0")),
        ({name: value.half() for name, value in weights(1.0).items()}, None, 1.0,
         "bare weights; converted from float16 to float32"),
        (weights(1.0) | {"epoch": 3}, None, 1.0, "bare weights"),
    ],
)  # fmt: skip
def test_weights_are_found_wherever_they_are_and_it_is_said(tmp_path, caplog, content, part, value, said):
    torch.save(content, tmp_path / "base.ckpt")
    with caplog.at_level(logging.INFO):
        assert is_filled_with(load_weights(model(), tmp_path / "base.ckpt", part), value)
    assert caplog.messages == [f"Base weights: {tmp_path / 'base.ckpt'} ({said})"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"ema": [weights(2.0), weights(3.0)]}, r"several sets of weights \(ema\.0, ema\.1\): choose one with"),
        (under("a.") | under("b."), r"several sets of weights \(a, b\)"),
        (
            weights(1.0) | under("module."),
            r"holds first\.weight twice, as first\.weight and module\.first\.weight: save it",
        ),
        (
            weights(1.0) | {"first.bias": torch.ones(2) * torch.nan},
            r"first\.bias \(float32\) does not hold finite floating-point",
        ),
        (
            weights(1.0) | {"first.bias": torch.ones(2).int()},
            r"first\.bias \(int32\) does not hold finite floating-point",
        ),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "base.pt")
    with pytest.raises(ValueError, match=message):
        load_weights(model(), tmp_path / "base.pt")


@pytest.mark.parametrize("name", ["base.pt", "base.bin", "base.pth", "base"])
def test_a_file_is_known_by_its_content(tmp_path, name):
    save_file(weights(1.0), tmp_path / name)
    assert is_filled_with(load_weights(model(), tmp_path / name), 1.0)
    torch.save(weights(2.0), tmp_path / "a.safetensors")
    assert is_filled_with(load_weights(model(), tmp_path / "a.safetensors"), 2.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "it is only a pointer of Git LFS: .* `git lfs pull`",
        ),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"", "it is empty"),
    ],
)
def test_what_downloads_leave_is_called_by_its_name(tmp_path, content, message):
    (tmp_path / "base.pt").write_bytes(content)
    with pytest.raises(ValueError, match=f"not a readable weights file: {message}"):
        load_weights(model(), tmp_path / "base.pt")


def test_shards_and_lone_files_in_folders_are_found(tmp_path):
    whole = weights(1.0)
    shards = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(whole)}
    for shard in set(shards.values()):
        save_file({name: whole[name] for name in whole if shards[name] == shard}, tmp_path / shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    assert is_filled_with(load_weights(model(), index), 1.0)
    assert is_filled_with(load_weights(model(), tmp_path), 1.0)
    for shard, message in (
        ("../x.safetensors", "'../x.safetensors', which is not beside it"),
        ("part-0.safetensors", ""),
    ):
        index.write_text(json.dumps({"weight_map": shards | {"other": shard}}))
        with pytest.raises(ValueError, match=message or "names other, which is in none of its shards"):
            load_weights(model(), index)
    index.unlink()
    with pytest.raises(ValueError, match="several files of weights"):
        load_weights(model(), tmp_path)
