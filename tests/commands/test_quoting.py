"""Arguments as they are typed: paths are taken whatever is in them, options stand anywhere, the rest is told."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from dmp_lightning.commands.checks.quoting import in_order, readable
from dmp_lightning.commands.trust.config_loader import CONFIG_DIR
from dmp_lightning.user_error import UserError


@pytest.mark.parametrize(
    "name",
    [
        "epoch=1-step=8.safetensors",
        "a(1).pt",
        "x[1]{2}.pt",
        "[x].pt",
        "a b#c&d;e!f.pt",
        "é/猫.pt",
        "it's.pt",
        'a"b.pt',
        "back\\slash\\'.pt",
        " spaces ",
        "1e5",
        "true",
        "a:b%c@d.pt",
    ],
)
def test_a_path_is_a_path_whatever_is_in_it(name: str) -> None:
    (read,) = readable([f"patch={name}"], "sample", Path(CONFIG_DIR))
    assert OverridesParser.create().parse_override(read).value() == name


def test_a_home_folder_is_put_in() -> None:
    (read,) = readable(["data.train.folder=~/latents"], "train", Path(CONFIG_DIR))
    assert OverridesParser.create().parse_override(read).value() == str(Path.home() / "latents")


@pytest.mark.parametrize(
    "typed", ["patch='a=b'", "patch=null", "patch=${oc.env:HOME}/a", "seeds=[0,1]", "method=dmp,lora", "~budget", "-m"]
)
def test_what_can_be_read_stays_as_it_is_typed(typed: str) -> None:
    assert readable([typed], "sample", Path(CONFIG_DIR)) == [typed]


def test_what_cannot_be_read_is_told_with_the_quotes_that_help() -> None:
    with pytest.raises(ValueError, match="cannot be parsed: quote") as raised:
        readable(["recipe.max_steps=1=2"], "train", Path(CONFIG_DIR))
    assert shlex.split(str(raised.value))[-1] == "recipe.max_steps='1=2'"


ORDERS = {
    "a=1 -m b=2": "a=1 b=2 -m",
    "a=1 b=2 -m": "a=1 b=2 -m",
    "a=1 --cfg job b=2 --config-dir=x c=3": "a=1 b=2 c=3 --cfg job --config-dir=x",
    "--config-dir x x ~c -cn y": "x ~c --config-dir x -cn y",
    "a=1 --info": "a=1 --info",
    "--help": "--help",
    "": "",
}


@pytest.mark.parametrize("typed", ORDERS)
def test_options_may_stand_between_overrides(typed: str) -> None:
    assert in_order(typed.split()) == ORDERS[typed].split()


@pytest.mark.parametrize("typed", ["--foo a=1", "a=1 -x", "a=1 --foo=3 b=2"])
def test_an_option_that_there_is_not_is_told(typed: str) -> None:
    with pytest.raises(ValueError, match=r"is not an option of this command"):
        in_order(typed.split())


def test_a_pickle_is_not_read() -> None:
    with pytest.raises(ValueError, match="--experimental-rerun reads a pickle"):
        in_order(["--exp=config.pickle"])


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir", "run_dir"])
def test_a_folder_that_cannot_be_made_is_told(key: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in ((f"{tmp_path}/file/run", f"as {tmp_path}/file is a file"), ("x" * 256, "longer than 255")):
        with pytest.raises(UserError, match=f"^{key}=.*{reason}"):
            readable([f"{key}={path}"], "sample", Path(CONFIG_DIR))
