"""Signals: before the steps a run ends at once, within them after one, and twice is enough."""

import multiprocessing
import os
import signal

import pytest

from training.stopping import StopRequestedError, stop_at_once, stop_later

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def handlers_stay():
    """Demand that all signals do afterwards what they did before."""
    before = [signal.getsignal(number) for number in BOTH]
    yield
    assert [signal.getsignal(number) for number in BOTH] == before


def read_what_may_be_damaged(number):
    """Return None where reading fails for whatever reason."""
    try:
        signal.raise_signal(number)
    except Exception:
        return None


@pytest.mark.parametrize('number', BOTH)
def test_what_is_no_step_ends_at_once(number):
    with pytest.raises(StopRequestedError, match='the same command goes on'), stop_at_once():
        read_what_may_be_damaged(number)


@pytest.mark.parametrize('number', BOTH)
def test_a_step_is_finished(number):
    with stop_at_once(), stop_later() as stop:
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)  # of a scheduler that also asks torchrun to ask
        assert stop.is_set()


def interrupted_twice(between):
    with stop_later():
        os.kill(os.getpid(), signal.SIGINT)
        between.set()
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(0)


def test_ctrl_c_twice_ends_the_process():
    context = multiprocessing.get_context('fork')
    between = context.Event()
    process = context.Process(target=interrupted_twice, args=[between])
    process.start()
    process.join(timeout=30)
    assert (between.is_set(), process.exitcode) == (True, -signal.SIGINT)
