"""Ctrl-C is answered at once, wherever the process is: one line, exit code 130, nothing half-written.

Python would raise an error wherever it is, also inside of an import that makes another error of it, and not at all
inside of a long call of a library. So a thread ends the process; it sees at once what comes through the wakeup pipe.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

PATIENCE = 3.0  # seconds in which what ends by itself may do so
CODE = 128 + signal.SIGINT

listening = threading.Event()
"""Set where a thread sees each Ctrl-C."""

asked = threading.Event()
"""Set once Ctrl-C was pressed."""

patient = threading.Event()
"""Set where the main thread ends by itself."""

finishing = threading.Event()
"""Set while a training step runs, which is finished and saved first, however long it takes."""

_sentences: dict[str, Callable[[], str]] = {"end": lambda: "Interrupted."}
_said: set[str] = set()
_life: dict[str, int] = {}  # the ends of a pipe that this process alone can write to: it is closed when that ends
_saying = threading.RLock()  # a handler may speak while its thread does


def listen() -> None:
    """Answer Ctrl-C from now on; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, leave_to_thread)
    _life["read"], _life["write"] = os.pipe()
    os.register_at_fork(after_in_child=_belong_to_parent)
    atexit.register(_leave)
    sys.unraisablehook = _ignore_interrupts
    threading.Thread(target=_watch, args=(read,), daemon=True).start()
    listening.set()


def leave_to_thread(number: int, frame: FrameType | None) -> None:
    """The handler of Ctrl-C where a thread ends the process; should the main thread end first, it ends the same way."""
    asked.set()


@contextmanager
def patience() -> Iterator[None]:
    """Give the main thread, which has a handler of its own, some seconds to end by itself."""
    before = patient.is_set()
    patient.set()
    try:
        yield
    finally:
        if not before:
            patient.clear()


def promise(sentence: Callable[[], str]) -> None:
    """Set the sentence that is said where Ctrl-C ends the process from now on; it is put together then."""
    _sentences["end"] = sentence


def leave(sentence: str | None = None) -> NoReturn:
    """End because of Ctrl-C, and say so.

    Raises:
        SystemExit: always.
    """
    asked.set()
    tell(sentence)
    raise SystemExit(CODE)


def tell(sentence: str | None = None) -> None:
    """Say that the process ends, unless that has been said."""
    _say("end", sentence or _sentences["end"]())


def tell_of_step() -> None:
    """Say that a training step is finished first, unless that has been said."""
    _say("step", "\nInterrupted: finishing the step, then saving. Ctrl-C again ends at once.")


def _say(what: str, sentence: str) -> None:
    """Only one of the processes of a host speaks, and only once."""
    with _saying:
        if what not in _said and os.environ.get("LOCAL_RANK", "0") == "0":
            _said.add(what)
            with suppress(OSError):  # Ctrl-C ends what reads it too: `2>&1 | tee log`
                sys.stderr.write(f"{sentence}\n")
                sys.stderr.flush()


def _belong_to_parent() -> None:
    """Leave Ctrl-C to the parent: what it forks works for it, and ends with it, also where it has just begun."""
    if "write" in _life:
        os.close(_life.pop("write"))
    threading.Thread(target=lambda: os.read(_life["read"], 1) or os._exit(CODE), daemon=True).start()
    with suppress(ValueError):  # in a process that a thread has forked
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit.unregister(_leave)


def _ignore_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
    """Where a handler cannot raise, in a destructor for one, no stack is shown: the process ends soon all the same."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt | SystemExit):
        sys.__unraisablehook__(unraisable)


def _watch(read: int) -> None:
    once = False  # `asked` may be set by the main thread, because of the same Ctrl-C
    while True:
        for number in os.read(read, 64):
            if finishing.is_set():
                tell_of_step()
            if number != signal.SIGINT:
                continue
            if once or not patient.is_set():
                _end()
            once = True
            asked.set()
            threading.Thread(target=_end_later, daemon=True).start()


def _end_later() -> None:
    threading.Event().wait(PATIENCE)
    if not finishing.is_set():
        _end()


def _leave() -> None:
    """Spare Python the rest of its own end, which may take seconds: it waits for processes and frees memory."""
    if asked.is_set():
        with suppress(OSError):
            sys.stdout.flush()
        _end()


def _end() -> None:
    from multiprocessing import active_children  # imported late, as listening is to begin early

    from dmp_lightning.files import being_written

    tell()
    children = active_children()
    for child in children:
        child.kill()
    for child in children:
        child.join(1)  # none is left over, also where nobody looks after orphans, as in many containers
    for path in list(being_written):
        path.unlink(missing_ok=True)
    os._exit(CODE)
