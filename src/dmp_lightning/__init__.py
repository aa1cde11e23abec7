"""Patch a converged diffusion transformer with a mixture of prompts (arXiv 2405.17825)."""

import os
import sys
from types import TracebackType

_COMMAND = sys.argv[0] == "-m" or os.path.basename(sys.argv[0]).startswith("dmp-")


def _show(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
    """Ctrl-C before a command listens to it, see `dmp_lightning.training.ctrl_c`, ends it without a stack."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr, flush=True)
        os._exit(130)
    sys.__excepthook__(kind, error, stack)


if _COMMAND and sys.excepthook is sys.__excepthook__:
    sys.excepthook = _show
