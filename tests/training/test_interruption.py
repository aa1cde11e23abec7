"""Signals end a run, unless somebody else, as submitit in its jobs, has a word in it."""

import os
import signal

import pytest

from dmp_lightning.training.interruption import Interrupted, Interruption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_ends_the_run(number: int) -> None:
    with pytest.raises(Interrupted) as raised, Interruption():
        os.kill(os.getpid(), number)
    assert raised.value.code == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("training", [False, True])
def test_who_handled_a_signal_before_decides(training: bool) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with Interruption() as interruption:
            interruption._training = training
            os.kill(os.getpid(), signal.SIGTERM)
            if training:  # the step is finished and the state saved first
                assert not seen
                interruption.stop()
            assert seen == [signal.SIGTERM]
            assert interruption.number is None
            os.kill(os.getpid(), signal.SIGTERM)  # and so on
    finally:
        signal.signal(signal.SIGTERM, before)
