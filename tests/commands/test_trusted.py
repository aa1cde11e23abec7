"""What a config may build is in a list of exact names, whatever interpolations, aliases and nestings it uses."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object, instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dmp_lightning.commands.trust.config_loader import CONFIG_DIR
from dmp_lightning.commands.trust.trusted import LOGGERS, TRUSTED, build, check_targets
from dmp_lightning.patching import own_code

MARKS: list[tuple] = []
MARK = "tests.commands.test_trusted.mark"


def mark(*arguments: Any, **named: Any) -> str:
    """Leave a mark: what a hostile config would have run."""
    MARKS.append((arguments, named))
    return "marked"


def targets(node: Any) -> set[str]:
    """Each `_target_` in nested containers."""
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    own = {value for key, value in items if key == "_target_"}
    return own.union(*(targets(value) for _, value in items))


@pytest.mark.parametrize("name", sorted(TRUSTED))
def test_each_name_on_the_list_exists(name: str) -> None:
    assert callable(get_object(name))


def test_our_configs_name_only_what_is_on_the_list() -> None:
    files = [path for path in Path(CONFIG_DIR).rglob("*.yaml") if "hydra" not in path.parts[-3:]]
    contents = [OmegaConf.to_container(OmegaConf.load(path)) for path in files]
    named = {target for content in contents for target in targets(content)}
    assert {name for name in named if not name.startswith("hydra_plugins.dmp_lightning_sweepers.")} <= TRUSTED
    assert len(named) > 30


def test_a_logger_is_on_the_list() -> None:
    assert set(LOGGERS) < TRUSTED


HOSTILE = [
    "os.system",
    "shutil.copyfile",
    "builtins.eval",
    "dmp_lightning.runs.record._git",
    "dmp_lightning.methods.base.torch.load",
    "dmp_lightning.commands.models.build",
    "dmp_lightning.data.latents.vae.load_vae",
    "dmp_lightning.methods.DPM",
    "dmp_lightning.methods.DMP.load_state_dict",
    "lightning.pytorch.Trainer.__init__",
    "lightning.pytorch.LightningModule.load_from_checkpoint",
    "lightning.fabric.utilities.cloud_io._load",
    "diffusers.DiffusionPipeline.from_pretrained",
    "diffusers.DDPMScheduler.from_pretrained",
    "torch.optim.AdamW.load_state_dict",
    "torch.optim.optimizer.torch.load",
    "torch.optim.lr_scheduler.LambdaLR",
    "torch.optim.AdamW ",
    "torch..optim.AdamW",
    "tоrch.optim.AdamW",  # with a Cyrillic o
    "mygates.CosineGate",
    "",
    None,
    7,
    ["torch.optim.AdamW"],
    {"_target_": "torch.optim.AdamW"},
]


@pytest.mark.parametrize("target", HOSTILE, ids=repr)
def test_nothing_else_is_built(target: Any) -> None:
    found = OmegaConf.create({"method": {"_target_": target}})
    for refuse in (check_targets, lambda found: build(found.method)):
        with pytest.raises(ValueError, match=r"A config may not build method\._target_="):
            refuse(found)


EVIL = f"{{_target_: {MARK}}}"
WAYS = {
    "by name": {"_target_": MARK},
    "by name, later": {"_target_": MARK, "_partial_": True},
    "with arguments": {"_target_": MARK, "_args_": ["a"], "b": 1},
    "name by reference": {"_target_": "${name}"},
    "by reference": "${evil}",
    "by reference of a reference": "${again}",
    "by relative reference": "${..evil}",
    "by a key of a key": "${${which}}",
    "created": f"${{oc.create:{EVIL}}}",
    "decoded": f"${{oc.decode:'{EVIL}'}}",
    "decoded from elsewhere": "${oc.decode:${text}}",
    "selected": "${oc.select:evil}",
    "selected by default": f"${{oc.select:nothing,{EVIL}}}",
    "created by a name that is put together": f"${{oc.${{create}}:{EVIL}}}",
    "created around a reference": "${oc.create:{a: ${evil}}}",
    "escaped": rf"\${{oc.create:{EVIL}}}",
    "decoded and escaped": rf"${{oc.decode:'\${{oc.create:{EVIL}}}'}}",
    "values": "${oc.dict.values:evils}",
    "in a list": [1, [{"_target_": MARK}]],
}
BESIDE = {
    "evil": {"_target_": MARK},
    "again": "${evil}",
    "name": MARK,
    "which": "evil",
    "text": EVIL,
    "create": "create",
    "evils": {"one": {"_target_": MARK}},
}
LEAST = 12  # ways that Hydra alone would go, so that this file tests something
containers = st.recursive(
    st.sampled_from(list(WAYS.values())),
    lambda inner: st.one_of(
        st.dictionaries(
            st.sampled_from(["a", "b", "_args_", "_recursive_", "_convert_", "_partial_"]), inner, max_size=2
        ),
        st.lists(inner, max_size=2),
    ),
    max_leaves=5,
)


def part(value: Any) -> Any:
    """A config with a harmless part that has `value` as an argument."""
    harmless = {"_target_": "dmp_lightning.diffusion.weighting.constant", "_partial_": True, "argument": value}
    return OmegaConf.create(BESIDE | {"part": harmless})


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_to_another_callable(way: str) -> None:
    found = part(WAYS[way])
    MARKS.clear()
    with pytest.raises(ValueError, match=r"A config may not build|is an interpolation"):
        build(found.part)
    assert not MARKS


def test_hydra_alone_would_go_most_of_these_ways() -> None:
    gone = 0
    for value in WAYS.values():
        MARKS.clear()
        with suppress(Exception):  # of many kinds, and none of them matters
            instantiate(part(value).part)
        gone += bool(MARKS)
    MARKS.clear()
    assert gone >= LEAST


@settings(deadline=None, max_examples=100)
@given(containers)
def test_no_nesting_leads_to_another_callable(value: Any) -> None:
    MARKS.clear()
    with suppress(ValueError):
        build(part(value).part)
    assert not MARKS


def test_a_logger_stands_below_logger() -> None:
    found = OmegaConf.create({"data": {"_target_": "dmp_lightning.training.csv_log.CSVLog", "path": "x"}})
    with pytest.raises(ValueError, match="is a logger: put it below logger"):
        build(found.data)


def test_a_package_of_ones_own_is_trusted_for_what_it_defines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "OWN", ("tests.commands.test_trusted.",))
    MARKS.clear()
    assert build(OmegaConf.create({"_target_": MARK})) == "marked"
    MARKS.clear()
    for imported in (
        "tests.commands.test_trusted.pytest.main",
        "tests.commands.test_trusted.instantiate",
        "tests.commands.test_trusted.nothing",
    ):
        with pytest.raises(ValueError, match=r"A config may not build|cannot be found"):
            build(OmegaConf.create({"_target_": imported}))
