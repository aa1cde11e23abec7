"""Each command in docs/ and the README composes, and the code that makes images runs.

test_examples.py and test_journey.py run the pages add_*.md and own_images.md.
"""

import re
import shlex
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import OmegaConf
from PIL import Image

from dmp_lightning.backbones import DiT
from dmp_lightning.commands.checks.acting import check_acting, keys_of
from dmp_lightning.commands.checks.quoting import readable
from dmp_lightning.commands.checks.values import check_values
from dmp_lightning.commands.cli import CONFIG_DIR
from dmp_lightning.commands.errors import check_order, check_top_level
from dmp_lightning.commands.help import head
from dmp_lightning.commands.trust.trusted import check_targets
from dmp_lightning.metrics.references import open_reference
from dmp_lightning.report import with_folder
from tests.configs import config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("[!ao]*.md"))]
PLACED = ("train", "evaluate", "sample", "export")  # commands whose config has a run_dir


def fenced(language: str) -> list[str]:
    """The blocks of one language in all documents, with continued lines joined and `…` replaced by a name."""
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    blocks = [block for text in texts for block in re.findall(r"^```(.*)\n((?s:.*?))^```$", text, re.MULTILINE)]
    return [content.replace("\\\n", " ").replace("…", "some") for found, content in blocks if found == language]


def commands() -> list[tuple[str, list[str]]]:
    """Each command of this project: its name and its arguments."""
    found = [re.findall(r"-m dmp_lightning\.(\w+)([^\n&]*)", block) for block in fenced("bash") + fenced("")]
    return [(name, shlex.split(arguments, comments=True)) for block in found for name, arguments in block]


def values(override: Override) -> list[str]:
    """The overrides that a sweep makes of one override; for an interval, its start."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    swept = override.value()
    found = [swept.start] if isinstance(swept, IntervalSweep) else override.sweep_string_iterator()
    return [f"{override.get_key_element()}={value}" for value in found]


def runs(arguments: list[str]) -> list[list[str]]:
    """Overrides for enough runs to have each value of a sweep once."""
    options = [values(override) for override in OverridesParser.create().parse_overrides(arguments)]
    return [[each[run % len(each)] for each in options] for run in range(max(map(len, options), default=1))]


def examples() -> list[tuple[str, list[str]]]:
    """The two commands that each `--help` shows."""
    shown = [(name, head(name)[1]) for name in ("train", "sample", "evaluate", "encode", "report", "export")]
    assert all(len(lines) == 2 and all(f"dmp_lightning.{name} " in line for line in lines) for name, lines in shown)
    return [(name, shlex.split(line)[3:]) for name, lines in shown for line in lines]


@pytest.mark.parametrize(
    ("name", "arguments"), commands() + examples(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_commands_compose(name: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "backbone.weights=my_dit.pt" in arguments:  # the sizes are read from it
        sizes = {"input_size": 32, "in_channels": 4, "patch_size": 2, "width": 384, "depth": 1, "heads": 6}
        torch.save(DiT(**sizes, num_classes=1, class_dropout_prob=0.0).state_dict(), "my_dit.pt")
    if "backbone.path=my_sd3" in arguments:
        Path("my_sd3/transformer").mkdir(parents=True)
        Path("my_sd3/transformer/config.json").write_text('{"_class_name": "SD3Transformer2DModel"}')
    given = with_folder(arguments) if name == "report" else [each for each in arguments if each != "-m"]
    configs = []
    for overrides in runs(readable(given, name, Path(CONFIG_DIR))):
        composed = config(*overrides, *(["run_dir=runs/test"] if name in PLACED else []), name=name)
        if name == "encode":
            del composed.data.batch_size, composed.data.seed  # encode reads only the folder and the VAE
        if name == "train":
            composed.sweep = None  # only Hydra can resolve it
        OmegaConf.resolve(composed)
        check_order(overrides)
        check_top_level(composed, Path(CONFIG_DIR, f"{name}.yaml"))
        check_targets(composed)
        check_values(composed, name)
        configs.append(composed)
    check_acting(configs, name, keys_of(given))


def test_no_command_is_missed() -> None:
    lines = [line for path in PAGES for line in path.read_text(encoding="utf-8").splitlines() if "`" not in line]
    assert len(commands()) == sum("-m dmp_lightning." in line for line in lines) >= 60


def test_the_images_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("00000/00001.png", "01000/01002.png"):
        (tmp_path / "images1024x1024" / name).parent.mkdir(parents=True)
        Image.new("RGB", (1024, 1024), (10, 20, 30)).save(tmp_path / "images1024x1024" / name)
    (code,) = [block for block in fenced("python") if '"ffhq-256"' in block]
    exec(code, {})
    reference = open_reference(tmp_path / "ffhq-256", (3, 256, 256))
    assert reference.images.names == ["00001.png", "01002.png"]
    assert reference.read(range(2)).shape == (2, 3, 256, 256)
