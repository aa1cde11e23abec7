"""Patch a converged diffusion transformer with a mixture of prompts (arXiv 2405.17825).

In Python: `load_base` or `DiT`, `attach` or `load`, and the `Patch` that these return.
"""

import os
import sys
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmp_lightning.backbones.dit import DiT
    from dmp_lightning.backbones.families import Family, Process
    from dmp_lightning.backbones.from_file import load_base
    from dmp_lightning.backbones.layouts import Sites
    from dmp_lightning.condition import Condition
    from dmp_lightning.diffusion.ddpm import DDPM
    from dmp_lightning.diffusion.flow import Flow
    from dmp_lightning.diffusion.schedule import cosine_betas, linear_betas, scaled_linear_betas
    from dmp_lightning.patching.attach import attach, load
    from dmp_lightning.patching.objective import Loss
    from dmp_lightning.patching.patch import Patch
    from dmp_lightning.prompts import ConstantGate, Gate, Gates, HardGate, LinearGate, MLPGate, SigmoidGate
    from dmp_lightning.user_error import UserError

    __version__: str

__all__ = [
    "DDPM",
    "Condition",
    "ConstantGate",
    "DiT",
    "Family",
    "Flow",
    "Gate",
    "Gates",
    "HardGate",
    "LinearGate",
    "Loss",
    "MLPGate",
    "Patch",
    "Process",
    "SigmoidGate",
    "Sites",
    "UserError",
    "__version__",
    "attach",
    "cosine_betas",
    "linear_betas",
    "load",
    "load_base",
    "scaled_linear_betas",
]

_HOMES = {
    "DiT": "backbones.dit",
    "Family": "backbones.families",
    "Process": "backbones.families",
    "Sites": "backbones.layouts",
    "load_base": "backbones.from_file",
    "Condition": "condition",
    "DDPM": "diffusion.ddpm",
    "cosine_betas": "diffusion.schedule",
    "Flow": "diffusion.flow",
    "linear_betas": "diffusion.schedule",
    "scaled_linear_betas": "diffusion.schedule",
    "attach": "patching.attach",
    "load": "patching.attach",
    "Loss": "patching.objective",
    "Patch": "patching.patch",
    "UserError": "user_error",
}
"""Where names come from, the gates from `prompts`: each is imported when it is first used, because torch is slow to."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("dmp-lightning")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'prompts')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_COMMAND = sys.argv[0] == "-m" or os.path.basename(sys.argv[0]).startswith("dmp-")


def _show(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
    """Ctrl-C before a command listens to it, see `dmp_lightning.training.ctrl_c`, ends it without a stack."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr, flush=True)
        os._exit(130)
    sys.__excepthook__(kind, error, stack)


if _COMMAND and sys.excepthook is sys.__excepthook__:
    sys.excepthook = _show
