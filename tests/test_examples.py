"""The examples in docs/add_*.md are short and run, as does nobody's code that the user did not ask for."""

import os
import re
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from dmp_lightning.commands.trust import trusted
from dmp_lightning.patching import own_code
from tests.configs import SMALL
from tests.crashes import Crash
from tests.processes import command

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = sorted(path.name for path in DOCS.glob("add_*.md"))
LINES = 40
TINY = [
    *SMALL,
    "evaluation.samples=8",
    "evaluation.batch_size=8",
    "evaluation.strata=1",
    "evaluation.shown=2",
    "sampler.steps=2",
    "recipe.max_steps=2",
    "recipe.validate_every=2",
    "logger=csv",
]


def blocks(page: str) -> tuple[dict[str, str], list[str]]:
    """The files that a page has the reader write, by their paths, and the lines to type."""
    text = (DOCS / page).read_text(encoding="utf-8")
    files = dict(re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```', text, re.DOTALL | re.MULTILINE))
    return files, re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def typed(names: str) -> None:
    """Make this process one in which DMP_TRUSTED was set, and `python -m` typed in this folder."""
    sys.path.insert(0, os.getcwd())
    own_code.OWN = tuple(f"{name}." for name in names.split(",") if name)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page in ("add_backbone.md", "add_gate.md") else pytest.mark.slow)
        for page in EXAMPLES
    ],
)
def test_examples_are_short_and_run(page: str, tmp_path: Path) -> None:
    files, commands = blocks(page)
    assert sum(content.count("\n") for content in files.values()) < LINES
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    packages = ""
    for line in "".join(commands).splitlines():
        words = shlex.split(line)
        if line.startswith("python make"):
            subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
            continue
        given = [word.partition("=")[2] for word in words if word.startswith("DMP_TRUSTED=")]
        packages = given[0] if given else packages
        if words[0] == "export":
            continue
        arguments = words[words.index("dmp_lightning.train") + 1 :]
        result = command(tmp_path, [*arguments, *TINY], prepare=partial(typed, packages))
        assert result.code == 0, result.stderr
    (*_, record) = sorted(tmp_path.rglob("results.json"), key=lambda path: path.stat().st_mtime)
    config = yaml.safe_load(record.read_text())["config"]
    own = [name.partition(".")[0] for name in files if name.startswith("my") and name.endswith(".py")]
    assert packages == ",".join(own)
    assert all(f"'_target_': '{name}." in str(config) for name in own)
    if page == "add_experiment.md":
        assert (config["name"], config["method"]["prompt_count"]) == ("few_prompts", 4)


def test_without_trust_an_example_is_refused(tmp_path: Path) -> None:
    files, _ = blocks("add_gate.md")
    (tmp_path / "myconf" / "gate").mkdir(parents=True)
    (tmp_path / "myconf" / "gate" / "cosine.yaml").write_text(files["myconf/gate/cosine.yaml"])
    (tmp_path / "mygates.py").write_text("open('executed', 'w')")
    arguments = ["--config-dir", "myconf", "gate=cosine", *TINY]
    # Hydra can set the environment of a job from its config: too late for that.
    result = command(tmp_path, [*arguments, "+hydra.job.env_set={DMP_TRUSTED: mygates}"], prepare=partial(typed, ""))
    assert result.code == 1
    assert "A config may not build method.gate._target_=mygates.CosineGate" in result.stderr
    assert "set DMP_TRUSTED to its package" in result.stderr
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("where", "bug", "said"),
    [
        ("super().__init__", "int('few')", "ValueError: invalid literal for int()"),
        ("cosine =", "batch, tokens, width = e.shape", "ValueError: not enough values to unpack"),
        ("cosine =", "open('table.npy')", "FileNotFoundError: "),
    ],
)
def test_a_bug_in_ones_own_gate_keeps_its_stack(where: str, bug: str, said: str, tmp_path: Path) -> None:
    files, _ = blocks("add_gate.md")
    (tmp_path / "myconf" / "gate").mkdir(parents=True)
    (tmp_path / "myconf" / "gate" / "cosine.yaml").write_text(files["myconf/gate/cosine.yaml"])
    (tmp_path / "mygates.py").write_text(files["mygates.py"].replace(where, f"{bug}\n        {where}"))
    arguments = ["--config-dir", "myconf", "gate=cosine", *TINY]
    result = command(tmp_path, arguments, prepare=partial(typed, "mygates"))
    assert result.code == 1
    assert said in result.stderr
    assert re.search(r'mygates\.py", line \d+, in ', result.stderr)
    assert "error: " not in result.stderr


def test_the_environment_says_whom_to_trust() -> None:
    line = "from dmp_lightning.patching.own_code import OWN; print(OWN)"
    environment = os.environ | {"DMP_TRUSTED": "mygates, lab.models"}
    shown = subprocess.run([sys.executable, "-c", line], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "('mygates.', 'lab.models.')"


@pytest.mark.parametrize(
    "target",
    [
        "dmp_lightning.methods.base.torch.load",  # a module that one of ours has imported
        "dmp_lightning.commands.models.instantiate",  # a function that one of ours has imported
        "diffusers.DiffusionPipeline.from_pretrained",
        "dmp_lightning.methods.DPM",
    ],
)
def test_what_trusted_modules_have_imported_is_not_trusted(target: str) -> None:
    with pytest.raises(ValueError, match=f"method._target_={target}"):
        trusted.check_targets(OmegaConf.create({"method": {"_target_": target}}))


@pytest.mark.slow
def test_a_stopped_run_says_how_to_go_on_with_a_folder_of_ones_own(tmp_path: Path) -> None:
    files, _ = blocks("add_experiment.md")
    ((name, content),) = files.items()
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(content)
    arguments = ["--config-dir", "myconf", "+experiment=few_prompts", *TINY]
    stopped = command(tmp_path, arguments, prepare=Crash("training step", 2, signal.SIGTERM).arm)
    assert stopped.code == 128 + signal.SIGTERM, stopped.stderr
    (line,) = re.findall(r"To resume: python -m dmp_lightning.train (.*)", stopped.stderr)
    resumed = command(tmp_path, shlex.split(line))
    assert resumed.code == 0, resumed.stderr
    assert list(tmp_path.rglob("results.json"))
