"""Users' mistakes in one sentence each: misspelt keys and groups, and what Hydra refuses."""

import errno
import shutil
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from hydra.errors import HydraException, InstantiationException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from dmp_lightning.user_error import UserError

OF_THE_MACHINE = {
    errno.EACCES, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EPERM, errno.EROFS
}  # fmt: skip
"""A full or failing disk, a limit, a permission: no bug of anybody's, wherever it is met."""

PLUGINS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray", "joblib": "joblib"}
"""Hydra's launchers, and the extra of this package that installs each."""


def check_top_level(config: DictConfig, primary: Path) -> None:
    """Make sure that `+KEY=VALUE` has not quietly added a key that nothing reads.

    Raises:
        UserError: a top-level key is neither in the primary config nor one of its groups.
    """
    content = OmegaConf.load(primary)
    known = {str(key) for key in content}
    for name in OmegaConf.select(content, "defaults"):  # a config that another goes on from lends it its keys
        if isinstance(name, str) and name != "_self_":
            known |= {str(key) for key in OmegaConf.load(primary.with_name(f"{name}.yaml"))}
    known |= {path.name for path in primary.parent.iterdir() if path.is_dir()}
    for key in config:
        if key not in known:
            raise UserError(f"+{key!s} is neither a group nor a key of this command.{_suggest(str(key), known)}")


def check_order(overrides: Iterable[str]) -> None:
    """Make sure that a mode changes the experiment, and is not itself changed by it.

    Raises:
        UserError: it comes before the experiment, which would win.
    """
    groups = [override.partition("=")[0] for override in overrides]
    if "+mode" in groups and "+experiment" in groups[groups.index("+mode") :]:
        raise UserError("Put +mode=... after +experiment=..., because it changes the experiment.")


def check_launcher(launcher: DictConfig) -> None:
    """Make sure that a sweep's launcher has what it needs here.

    Raises:
        UserError: it is SLURM's, and this machine is not of a cluster.
    """
    if launcher._target_.endswith(".SlurmLauncher") and shutil.which("srun") is None:
        raise UserError(
            "launcher=slurm needs a SLURM cluster, but there is no srun here: start it on a login node, or choose "
            "launcher=slurm_local."
        )


def is_mistake(error: BaseException) -> bool:
    """Whether an error is the user's to mend. Any other is a bug, ours or in the user's code, and keeps its stack."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return is_mistake(error.__cause__)  # what was built has failed
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        return True
    return isinstance(error, UserError | HydraException | OmegaConfBaseException)


def explanation(error: BaseException) -> str:
    """The sentence to show: of the mistake itself, not of Hydra's failing to compose or build something."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ConfigAttributeError | ConfigKeyError) and isinstance(error.parent_node, DictConfig):
        keys = [str(key) for key in error.parent_node]
        if not keys:
            where = str(error.full_key).rpartition(".")[0]
            return f"The config has no {error.full_key}: there is nothing in {where}."
        hint = f" (+{error.full_key}=... passes it on anyway.)" if "_target_" in error.parent_node else ""
        return f"The config has no {error.full_key}.{_suggest(str(error.key), keys)}{hint}"
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if group == "hydra/launcher" and name in PLUGINS:
            extra = PLUGINS[name]
            return f"launcher={extra} needs a plugin that is not installed: pip install 'dmp-lightning[{extra}]'"
        return f"There is no {group}={name}.{_suggest(name, error.options)}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return str(mistake_in(error) or _in_one_line(error))
    return str(error).strip()


def mistake_in(error: BaseException) -> UserError | None:
    """The user's mistake that an error was raised for, if it was: OmegaConf makes errors of its own of a resolver's."""
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, UserError):
            return error
    return None


def _in_one_line(error: Exception) -> str:
    """The several lines of Hydra or OmegaConf as one, with the key that they are about, without links and types."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=", "See http")))
    key = getattr(error, "full_key", None)
    return f"{key}: {said}" if key and key not in said else said


def _suggest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]}?" if close else f" There are {', '.join(known)}."
