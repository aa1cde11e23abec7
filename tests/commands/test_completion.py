"""Tab in an interactive bash, on a terminal of its own."""

import os
import pty
import select
import sys
import time

import pytest

from dmp_lightning.commands.cli import run

SCRIPT = """#!{python}
import sys
from dmp_lightning.{module} import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> int:
    """An interactive bash with dmp-train and its completion."""
    folder = tmp_path_factory.mktemp("terminal")
    script = folder / "dmp-train"
    script.write_text(SCRIPT.format(python=sys.executable, module="train"))  # what an installer makes of it
    script.chmod(0o755)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        variables = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), "TERM": "dumb", "PS1": "> "}
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], os.environ | variables)
    answer(terminal, 'eval "$(dmp-train -sc install=bash)"; echo re""ady\n', "ready")
    return terminal


def answer(terminal: int, typed: str, expected: str) -> str:
    """What appears after something is typed, up to what is expected."""
    os.write(terminal, typed.encode())
    shown, end = "", time.monotonic() + 15
    while expected not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode().replace("\a", "")
    assert expected in shown, shown
    return shown


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dmp-train +exp\t", "+experiment="),
        ("dmp-train recipe.max\t", "recipe.max_steps="),
        ("dmp-train backbone=dit_x\t", "backbone=dit_xl"),
    ],
)
def test_tab_goes_on_with_what_is_typed(typed: str, expected: str, terminal: int) -> None:
    shown = answer(terminal, typed, expected)
    assert "rror" not in shown
    os.write(terminal, b"\x15")  # clear the line


@pytest.mark.parametrize("line", ["dmp-train 'name=a b' rec", "dmp-train name=x=y backb", "dmp-train name=é rec"])
def test_a_line_that_cannot_be_read_goes_on_with_nothing(
    line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr(sys, "argv", ["dmp-train", "-sc", "query=bash"])
    run(lambda config: None, "train")
    assert capfd.readouterr() == ("", "")
