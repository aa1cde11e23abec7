"""What the processes of a data loader have in common."""

import signal


def ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches workers too; they are needed until the main process's work is done, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
