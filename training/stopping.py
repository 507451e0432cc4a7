"""What Ctrl-C and SIGTERM (pre-emption) do to a run: it ends with a sentence and loses no step."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from concerto_ros.errors import ConcertoError
from training.distributed import world_size

_log = logging.getLogger(__name__)


class StopRequestedError(ConcertoError):
    """A signal asked the run to stop; the same command goes on from what is saved."""


@contextmanager
def stop_at_once() -> Iterator[None]:
    """Let a signal end what the context does.

    Raises:
        StopRequestedError: SIGTERM or SIGINT came.
    """

    def stop(_number: int) -> None:
        # No error of ours, which somebody who reads a damaged file might take for its own.
        raise KeyboardInterrupt

    try:
        with _first_signal(stop):
            yield
    except KeyboardInterrupt as err:
        raise StopRequestedError(
            'stopped by a signal; the same command goes on from what is saved'
        ) from err


@contextmanager
def stop_later() -> Iterator[threading.Event]:
    """Turn a signal into an event, for a loop that ends after its step."""
    event = threading.Event()

    def stop(number: int) -> None:
        again = '; Ctrl-C now stops at once' if world_size() == 1 else ''
        _log.info('%s: stopping after this step%s', signal.Signals(number).name, again)
        event.set()

    with _first_signal(stop):
        yield event


@contextmanager
def _first_signal(react: Callable[[int], None]) -> Iterator[None]:
    """React to the first SIGTERM or SIGINT; after it, Ctrl-C ends the process on the spot.

    Not so with several ranks: `torchrun` passes on to them what the terminal sent them already.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, _ignore)
        signal.signal(signal.SIGINT, signal.SIG_DFL if world_size() == 1 else _ignore)
        react(number)

    before = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass
