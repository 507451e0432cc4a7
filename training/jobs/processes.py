"""Commands in processes of their own, which a signal to this one ends."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from threading import RLock
from types import FrameType, TracebackType
from typing import Any, TextIO

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Processes:
    """Runs commands until a signal comes; a context manager of the main thread.

    Ctrl-C, SIGTERM and SIGHUP, unless they are ignored, end the commands that run by one SIGTERM
    each, and let no other begin.

    Attributes:
        stopped: A signal came.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = RLock()  # a signal may interrupt the handler of another
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> 'Processes':
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str], output: TextIO, env: Mapping[str, str]) -> int:
        """Run a command to its end, in any thread; return its status, or that of SIGTERM."""
        with self._lock:
            if self.stopped:
                return -signal.SIGTERM
            # In a session of its own, so that Ctrl-C of the terminal comes once: through us.
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=env, text=True,
                start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
        status = process.wait()
        with self._lock:
            self._running.discard(process)
        return status

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.terminate()
