"""`--help` is short, comes from the texts in conf/, and before Hydra is imported. `test_docs` composes its examples."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dmp_lightning.commands.help import CONF, help_text
from tests.configs import config

COMMANDS = {  # and a key that its help names
    "train": "recipe.max_steps",
    "sample": "evaluation.batch_size",
    "evaluate": "reference",
    "encode": "vae",
    "report": "wandb",
    "export": "checkpoint",
}
SCRIPT = """
import sys
from dmp_lightning.{0} import main
sys.argv = ["dmp-{0}", "--help", *{1!r}]
main()
assert not {{"hydra", "omegaconf", "torch", "lightning"}} & sys.modules.keys()
"""


def shown(command: str, *arguments: str, columns: int = 80) -> str:
    line = [sys.executable, "-c", SCRIPT.format(command, arguments)]
    environment = os.environ | {"COLUMNS": str(columns)}
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_short_and_needs_neither_hydra_nor_torch(command: str) -> None:
    text = shown(command)
    lines = text.splitlines()
    assert len(lines) < 80
    assert max(map(len, lines)) <= 80
    assert text.startswith(f"dmp-{command}: ")
    assert sum(line.startswith(f"  dmp-{command} ") for line in lines) == 2


@pytest.mark.parametrize(("command", "expected"), COMMANDS.items())
def test_help_names_keys_with_the_comments_of_the_configs(command: str, expected: str) -> None:
    section = help_text(command, [CONF], 1000).partition("\nKeys, KEY=VALUE\n")[2].partition("\n\n")[0]
    rows = [row.strip().split(maxsplit=1) for row in section.splitlines()]
    composed, texts = config(name=command), [path.read_text() for path in CONF.rglob("*.yaml")]
    assert expected in {name.partition("=")[0] for name, _ in rows}
    for name, comment in rows:
        key, given, value = name.partition("=")
        assert any(f" # {comment}\n" in text for text in texts), key
        if given:  # the default that is shown is the one that the command composes
            assert OmegaConf.select(composed, key) == OmegaConf.create(f"x: {value}").x, key


def test_help_lists_options_that_a_folder_adds(tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "mine.yaml").touch()
    for option in ([f"--config-dir={tmp_path}"], ["-cd", str(tmp_path)]):
        (row,) = [line for line in shown("train", *option, columns=200).splitlines() if line.startswith("  gate ")]
        assert "linear_mean*" in row
        assert "mine" in row


def test_help_leaves_out_groups_that_a_command_does_not_read() -> None:
    text = help_text("sample", [CONF], 80)
    assert "\n  sampler " in text
    assert "\n  recipe " not in text
