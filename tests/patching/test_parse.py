"""What a patch file says about its method is parsed, never composed: it builds what is known, from plain values."""

import json
import re
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from dmp_lightning.backbones import Backbone
from dmp_lightning.commands.build import build_backbone
from dmp_lightning.commands.trust.trusted import TRUSTED, build
from dmp_lightning.methods import DMP, save_patch
from dmp_lightning.methods.patches import fingerprint
from dmp_lightning.patching import description, own_code
from dmp_lightning.patching.parse import described
from dmp_lightning.prompts import LinearGate
from tests.commands.test_trusted import BESIDE, MARK, MARKS, WAYS
from tests.configs import config, patched

METHODS = ("dmp", "prompt_tuning", "prompt_tuning_prepend", "lora", "adaln", "full_finetune", "frozen")
GATES = ("linear", "linear_mean", "topk", "hard", "sigmoid", "mlp", "uniform", "none")


class OwnGate(LinearGate):
    """A gate of a user's own package."""


@cache
def composed(*overrides: str) -> DictConfig:
    return config(*overrides, "run_dir=x")


@cache
def _base() -> Backbone:
    return build_backbone(config())


def base() -> Backbone:
    """A backbone of one's own, as methods change it."""
    return deepcopy(_base())


def written(*overrides: str) -> Any:
    """The description that a run with these settings writes, through JSON as in the file."""
    found = OmegaConf.to_container(composed(*overrides).method, resolve=True)
    return json.loads(json.dumps(found))


GOOD = written("method=dmp")
LORA = written("method=lora")
BETAS, WEIGHT = GOOD["process"]["betas"], GOOD["process"]["loss_weight"]
EARLIER = {name: value for name, value in GOOD.items() if name != "process"} | {"betas": BETAS}


def process(**changes: Any) -> Any:
    """The description with another process."""
    return GOOD | {"process": GOOD["process"] | changes}


def test_what_a_file_may_name_is_what_a_config_may_build() -> None:
    homes = r"dmp_lightning\.(methods|prompts|diffusion\.(ddpm|flow|schedule|weighting))\."
    trusted = {name for name in TRUSTED if re.match(homes, name)}
    assert set().union(description.METHODS, *description.PARTS.values()) == trusted


def test_what_earlier_versions_wrote_is_built_as_today() -> None:
    settings = {"condition": "log_snr"}
    method, earlier = (described(each | settings)(backbone=base()) for each in (GOOD, EARLIER))
    t = torch.arange(1000)
    assert torch.equal(earlier.process.log_snr(t), method.process.log_snr(t))
    assert described(EARLIER | {"betas": None})(backbone=base()).process is None
    for text, count in {"tokens": 16, "tokens/4": 4, "2*tokens": 32, "4*tokens/16": 4}.items():
        assert described(GOOD | {"prompt_count": text})(backbone=base()).prompt_count == count


@pytest.mark.parametrize(
    "overrides",
    [
        *([f"method={name}"] for name in METHODS),
        *(["method=dmp", f"gate={name}"] for name in GATES),
        ["method=dmp", "method.balance=released", "method.injection=[0,2]", "method.prompt_count=2.0"],
        ["method=dmp", "method.condition=log_snr", "diffusion=cosine"],
        *(["method=dmp", f"diffusion={name}"] for name in ("flow", "v", "scaled_linear")),
        ["method=dmp", "method.prompt_count=4", "method.injection=first:1/2", "+gate.weight_scale=mean"],
    ],
    ids=" ".join,
)
def test_what_runs_write_is_built_as_their_configs_build_it(overrides: list[str]) -> None:
    if overrides[0] == "method=lora":
        pytest.importorskip("peft")
    overrides = [word.lstrip("+") for word in overrides]
    torch.manual_seed(0)
    expected = build(composed(*overrides).method)(backbone=base())
    torch.manual_seed(0)
    method = described(written(*overrides))(backbone=base())
    assert type(method) is type(expected)
    assert method.label == expected.label
    for name, value in expected.state_dict().items():
        assert torch.equal(method.state_dict()[name], value)
    if overrides[0] == "method=dmp":
        t = expected.process.spread(1000)
        assert torch.equal(method.process.log_snr(t), expected.process.log_snr(t))
        assert method.process.predicts == expected.process.predicts


REFUSED: dict[str, tuple[Any, str]] = {
    "a list": ([GOOD], "is not a mapping"),
    "a text": ("dmp_lightning.methods.DMP", "is not a mapping"),
    "no class": ({}, r"method\._target_=None is not known here"),
    "another class": (GOOD | {"_target_": MARK}, rf"method\._target_={MARK} is not known here"),
    "a class that is a list": (GOOD | {"_target_": ["dmp_lightning.methods.DMP"]}, "is not known here"),
    "a gate for a method": (GOOD | {"_target_": "dmp_lightning.prompts.LinearGate"}, "is not known here"),
    "a class's function": (GOOD | {"_target_": "dmp_lightning.methods.DMP.forward"}, "is not known here"),
    "what a config may build": (GOOD | {"_target_": "dmp_lightning.training.csv_log.CSVLog"}, "is not known here"),
    "another gate": (GOOD | {"gate": {"_target_": MARK}}, r"method\.gate\._target_=.* is not known here"),
    "betas for a gate": (GOOD | {"gate": BETAS}, r"method\.gate\._target_=.* is not known here"),
    "no gate": ({key: value for key, value in GOOD.items() if key != "gate"}, "method lacks gate"),
    "an empty gate": (GOOD | {"gate": None}, r"method\.gate=None has the wrong type"),
    "another process": (GOOD | {"process": {"_target_": MARK}}, r"method\.process\._target_=.* is not known here"),
    "a flow of text": (
        GOOD | {"process": {"_target_": "dmp_lightning.diffusion.flow.Flow", "shift": "3"}},
        r"method\.process\.shift=3 has the wrong type",
    ),
    "a process of text": (GOOD | {"process": "ddpm"}, r"method\.process is not a diffusion process"),
    "a part of a process": (GOOD | {"process": BETAS}, r"method\.process\._target_=.* is not known here"),
    "another schedule": (process(betas={"_target_": MARK}), r"process\.betas\._target_=.* is not known here"),
    "a schedule of text": (process(betas="linear"), r"process\.betas is not a schedule"),
    "no schedule": (process(betas=None), r"process\.betas is not a schedule"),
    "another weight": (process(loss_weight={"_target_": MARK}), r"process\.loss_weight\._target_=.* is not known"),
    "a weight of its own": (process(loss_weight=WEIGHT | {"snr": [1.0]}), r"loss_weight\.snr is not an option of"),
    "schedules of two versions": (GOOD | {"betas": BETAS}, r"method\.betas is not an option of"),
    "an earlier schedule of text": (EARLIER | {"betas": "linear"}, r"process\.betas is not a schedule"),
    "a schedule out of range": (
        process(betas=BETAS | {"start": -3.0}),
        r"method\.process\.betas is not a schedule of numbers between 0 and 1",
    ),
    "a schedule of no steps": (process(betas=BETAS | {"steps": 0}), r"betas\.steps=0 is too few"),
    "a schedule of many steps": (process(betas=BETAS | {"steps": 10**12}), r"betas\.steps=.* is too large"),
    "another option": (GOOD | {"gaet": 1}, r"method\.gaet is not an option of"),
    "another option of the gate": (
        GOOD | {"gate": GOOD["gate"] | {"width": 3}},
        r"method\.gate\.width is not an option of",
    ),
    "the backbone": (GOOD | {"backbone": 3}, r"method\.backbone is not an option"),
    "Hydra's arguments": (GOOD | {"_args_": [1]}, r"method\._args_ is not an option"),
    "Hydra's recursion": (GOOD | {"_recursive_": False}, r"method\._recursive_ is not an option"),
    "a number for a text": (GOOD | {"position": 1}, r"method\.position=1 has the wrong type: it takes str"),
    "a text for a number": (LORA | {"rank": "8"}, r"method\.rank=8 has the wrong type: it takes int"),
    "a truth for a number": (LORA | {"rank": True}, r"method\.rank=True has the wrong type"),
    "a fraction for a number": (LORA | {"rank": 1.5}, r"method\.rank=1.5 has the wrong type"),
    "no text of an earlier version": (
        GOOD | {"prompt_count": "tokens*2"},
        r"method\.prompt_count=.* has the wrong type",
    ),
    "a huge share": (GOOD | {"prompt_count": 1e300}, r"method\.prompt_count=.* is too large"),
    "a huge number": (LORA | {"rank": 10**300}, r"method\.rank=.* is too large"),
    "no number": (GOOD | {"balance": {"importance": float("nan"), "load": 1.0}}, r"method\.balance"),
    "a part for a number": (LORA | {"rank": BETAS}, r"method\.rank=.* has the wrong type"),
    "deep containers": (GOOD | {"injection": [[[[[[[0]]]]]]]}, r"method\.injection.* is nested too deeply"),
    "a target within a value": (GOOD | {"balance": {"importance": {"_target_": MARK}}}, "describes an object"),
    **{f"an argument {way}": (GOOD | {"init": value}, r"method\.init") for way, value in WAYS.items()},
    **{f"a class {way}": (GOOD | {"_target_": value}, "is not known here") for way, value in WAYS.items()},
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_else_is_built(name: str) -> None:
    settings, message = REFUSED[name]
    MARKS.clear()
    with pytest.raises(ValueError, match=message):
        described(settings)
    assert not MARKS


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from([*WAYS.values(), *BESIDE.values(), GOOD, GOOD["gate"], GOOD["process"], BETAS, WEIGHT]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["_target_", "_args_", "_partial_", "gate", "betas", "loss_weight", "a", "steps"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)
KEYS = [*GOOD, "betas", "_args_", "_recursive_", "backbone", "a", "rank"]


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=3), st.booleans())
def test_a_description_is_refused_in_one_sentence_or_built(changes: dict[str, Any], within: bool) -> None:
    MARKS.clear()
    with suppress(ValueError):
        assert callable(described(GOOD | ({"gate": GOOD["gate"] | changes} if within else changes)))
    assert not MARKS


def test_a_gate_of_ones_own_needs_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    own = GOOD | {"gate": {"_target_": "tests.patching.test_parse.OwnGate", "_partial_": True, "top_k": 0.5}}
    backbone = base()
    with pytest.raises(ValueError, match="set DMP_TRUSTED to its package"):
        described(own)
    monkeypatch.setattr(own_code, "OWN", ("tests.patching.test_parse.",))
    method = described(own)(backbone=backbone)
    assert isinstance(method, DMP)
    assert isinstance(method.mixture.gate, OwnGate)
    for other in (
        "tests.patching.test_parse.DMP",
        "tests.patching.test_parse.written",
        "tests.patching.test_parse.REFUSED",
    ):
        with pytest.raises(ValueError, match=r"is not known here|cannot be found"):
            described(GOOD | {"gate": {"_target_": other}})


def test_the_sentence_names_the_file(tmp_path: Path) -> None:
    backbone, file = base(), tmp_path / "x.safetensors"
    save_patch({}, file, fingerprint(backbone), {"method": GOOD | {"init": "${oc.env:HOME}"}})
    with pytest.raises(ValueError, match=r"x\.safetensors cannot be used: method\.init=.* is an interpolation"):
        patched(backbone, file)


@pytest.mark.parametrize("claim", [GOOD | {"prompt_count": 60_000.0}, LORA | {"rank": 900_000}])
def test_no_memory_is_taken_for_what_the_file_does_not_hold(claim: dict, tmp_path: Path) -> None:
    if "rank" in claim:
        pytest.importorskip("peft")
    backbone, file = base(), tmp_path / "x.safetensors"
    tensors = described(GOOD)(backbone=backbone).exported()
    save_patch(tensors, file, fingerprint(backbone), {"method": claim})
    with pytest.raises(ValueError, match=r"x\.safetensors: .* build it with the same options"):
        patched(backbone, file)


@pytest.mark.parametrize(
    "about", ["[1]", "1", "null", '"a"', "{", "[" * 100_000, "NaN", '{"method": ' + "9" * 5000 + "}"]
)
def test_metadata_that_is_no_mapping_is_refused(about: str, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, file, {"about": about})
    with pytest.raises(ValueError, match=r"x\.safetensors is (damaged|not a patch)"):
        patched(base(), file)
