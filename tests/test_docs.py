"""The commands and code in docs/ do what they say: each command's config composes, and the code runs.

The pages on what to add are left to test_examples.py, which runs what they say.
"""

import re
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from dmp_lightning.entry import CONFIG_DIR
from dmp_lightning.mistakes import check_order, check_targets, check_top_level
from tests.configs import config

DOCS = Path(__file__).parents[1] / "docs"


def fenced(language: str) -> list[str]:
    """The blocks of one language in all documents, with continued lines joined."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("[!a]*.md"))]
    blocks = [block for text in texts for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]
    return [block.replace("\\\n", " ") for block in blocks]


def commands() -> list[tuple[str, list[str]]]:
    """Each command of this project: its name and its arguments."""
    found = [re.findall(r"-m dmp_lightning\.(\w+) ([^\n&]*)", block) for block in fenced("bash")]
    return [(name, shlex.split(arguments)) for block in found for name, arguments in block]


@pytest.mark.parametrize(("name", "arguments"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_commands_compose(name: str, arguments: list[str]) -> None:
    composed = config(*arguments, *([] if name == "encode" else ["run_dir=runs/test"]), name=name)
    if name == "encode":
        del composed.data.batch_size, composed.data.seed  # of data it needs the folder and the VAE alone
    OmegaConf.resolve(composed)
    check_order(arguments)
    check_top_level(composed, Path(CONFIG_DIR, f"{name}.yaml"))
    check_targets(composed)


def test_no_command_is_missed() -> None:
    assert len(commands()) == sum(block.count("dmp_lightning.") for block in fenced("bash")) >= 12


def test_the_images_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("00000/00001.png", "01000/01002.png"):
        (tmp_path / "images1024x1024" / name).parent.mkdir(parents=True)
        Image.new("RGB", (1024, 1024), (10, 20, 30)).save(tmp_path / "images1024x1024" / name)
    (code,) = fenced("python")
    exec(code, {})
    found = sorted((tmp_path / "ffhq-256").iterdir())
    assert [path.name for path in found] == ["00001.png", "01002.png"]
    assert {Image.open(path).size for path in found} == {(256, 256)}
