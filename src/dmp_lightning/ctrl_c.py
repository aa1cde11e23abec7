"""Ctrl-C is answered within seconds, also while the process is inside a long call of a library.

Python runs its handlers only between its own instructions. What is written into the wakeup pipe a thread sees at once.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

PATIENCE = 3.0  # seconds in which Python may end by itself
CODE = 128 + signal.SIGINT

finishing = threading.Event()
"""Set while a training step runs, which is finished and saved first."""

temporary: set[Path] = set()
"""Files that are being written; they are removed where the process ends at once."""

_told = threading.Event()


def listen() -> None:
    """Answer Ctrl-C from now on; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_stop_listening)
    threading.Thread(target=_watch, args=(read,), daemon=True).start()


def tell(sentence: str = "Interrupted.") -> None:
    """Say once that the process ends."""
    if not _told.is_set():
        _told.set()
        print(sentence, file=sys.stderr, flush=True)


def _stop_listening() -> None:
    with suppress(ValueError):  # in a process that a thread has forked
        signal.set_wakeup_fd(-1)


def _watch(read: int) -> None:
    asked = False
    while True:
        for number in os.read(read, 64):
            if number != signal.SIGINT:
                continue
            if asked:
                _end()
            asked = True
            threading.Thread(target=_end_later, daemon=True).start()


def _end_later() -> None:
    threading.Event().wait(PATIENCE)
    if not finishing.is_set():
        _end()


def _end() -> None:
    for path in list(temporary):
        path.unlink(missing_ok=True)
    tell()
    os._exit(CODE)
