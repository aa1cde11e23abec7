"""Code of the user's own that a config or a patch file may name: that of the packages in `DMP_TRUSTED`."""

import os
from importlib import import_module

from dmp_lightning.user_error import UserError


def own_packages() -> tuple[str, ...]:
    """Prefixes of the packages whose code the user lets configs build: `DMP_TRUSTED=mygates,lab.models`."""
    names = (name.strip() for name in os.environ.get("DMP_TRUSTED", "").split(","))
    return tuple(f"{name}." for name in names if name)


OWN = own_packages()
"""As the environment was when the process started: nothing that is read later can change it."""


def is_own(where: str, target: str) -> bool:
    """Whether `target`, which stands at `where`, is defined in one of the user's `OWN` packages.

    What such a package has merely imported is not: with it, `mygates.os.system` would be within reach.

    Raises:
        UserError: it is of such a package, but not there.
    """
    return target.startswith(OWN) and f"{_home(where, target)}.".startswith(OWN)


def _home(where: str, target: str) -> str:
    """The module in which the class or function `target` is defined, or nothing where its parent is no module."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name).__module__
    except (ImportError, AttributeError) as error:
        raise UserError(f"{where}={target} cannot be found ({error}): check its name and PYTHONPATH.") from error
