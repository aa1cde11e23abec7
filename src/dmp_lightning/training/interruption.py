"""Ctrl-C and SIGTERM: the step is finished, the state saved, and the run ends; a second Ctrl-C ends it at once.

So it is with the signals that clusters send when a job is preempted or its time is up, SIGUSR1 and SIGUSR2.
"""

import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Any

import lightning as L

from dmp_lightning.training import ctrl_c
from dmp_lightning.training.ctrl_c import finishing

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(SystemExit):
    """Ends the process, as shells expect, with 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class Interruption(L.Callback):
    """Notes a signal while a training step runs, and ends the run at once at any other time.

    A job that submitit started has handlers of its own, which queue it again or pass a signal over: then these decide,
    once the state is saved.

    Used as a context, so that what comes before and after training can be interrupted as well. Where training saves is
    with `Checkpoints`, which asks `requested` after each step.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._training = False
        self._before: dict[int, Any] = {}
        self._patience = ExitStack()

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self._install()
        return self

    def __exit__(self, *_: object) -> None:
        finishing.clear()
        self._patience.close()
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def requested(self, trainer: L.Trainer) -> bool:
        """Whether any process has been told to stop; all processes get the same answer after the same step."""
        return trainer.strategy.reduce_boolean_decision(self.number is not None, all=False)

    def stop(self) -> None:
        """End the run, or let those decide who handled the signal before.

        Raises:
            Interrupted: if nobody did. Handlers raise what they want to.
        """
        number = self.number or signal.SIGTERM
        self.number = None
        before = self._before[number]
        if not callable(before) or before in (signal.default_int_handler, ctrl_c.leave_to_thread):
            raise Interrupted(number)
        self._install()
        before(number, None)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """From here on there is something to end in order: loggers, and a state to go on from."""
        self._patience.enter_context(ctrl_c.patience())

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._install()  # over Lightning's handler of SIGTERM, which saves nothing

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Before the first step is done there is nothing to save, and it may take minutes to compile."""
        self._training = True
        finishing.set()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._training = False
        finishing.clear()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._training = trainer.state.fn == "fit"
        if self._training:
            finishing.set()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._training = False
        finishing.clear()

    def _install(self) -> None:
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in SIGNALS:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and ctrl_c.listening.is_set() and not ctrl_c.patient.is_set():
            return  # a thread ends the process
        self.number = number
        if not ctrl_c.listening.is_set():
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # for the second one
        if not self._training:
            self.stop()
        else:
            ctrl_c.tell_of_step()
