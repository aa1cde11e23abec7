"""Tab in a shell: Hydra's answers, without errors in the middle of what is being typed."""

from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from io import StringIO

from dmp_lightning.commands.errors import MISTAKES


def complete(job: Callable[[], None]) -> None:
    """Answer a shell that asks how a line goes on: where it cannot be read, with nothing."""
    with suppress(*MISTAKES), redirect_stderr(StringIO()):
        job()
