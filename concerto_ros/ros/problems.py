"""Problems: what goes wrong again and again, counted and reported in one throttled warning."""

import threading
import traceback
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

_PERIODS = 0.01, 3600.0  # seconds; timers count nanoseconds in 64 bits


class Problems:
    """Counts what goes wrong per kind, and from time to time warns of what is new.

    The time is that of this machine, so that reports also come while a simulator stands still.

    Args:
        node: Whose logger and executor are used.
        period: Gives the shortest time between two warnings [s], asked anew each time.

    Attributes:
        counts: How often each kind has occurred since the start.
    """

    def __init__(self, node: Node, period: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._sentences: dict[str, str] = {}
        self._before_report: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._logger = node.get_logger()
        self._period = period
        self._timer = node.create_timer(
            self._bounded_period(), self.report, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def add(self, kind: str, sentence: str, count: int = 1) -> None:
        """Count one problem, or `count`; may be called from any thread.

        Args:
            kind: One word; problems of a kind share one line of the warning.
            sentence: Topic, cause and cure; the newest of a kind is shown.
            count: How often it has occurred.
        """
        with self._lock:
            self.counts[kind] += count
            self._sentences[kind] = sentence

    def add_exception(self) -> None:
        """Count the exception in flight, which nobody foresaw, as 'internal'."""
        self.add('internal', f'internal error: {traceback.format_exc().strip()}')

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return a callback that counts unforeseen errors; raised, they would end the node."""

        @wraps(callback)  # rclpy looks at the signature
        def call(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception:
                self.add_exception()

        return call

    def before_report(self, callback: Callable[[], None]) -> None:
        """Call back before each report, for problems that only counting reveals."""
        self._before_report.append(self.guarded(callback))

    def report(self) -> None:
        """Warn of what is new since the last report; say nothing if nothing is."""
        self._timer.timer_period_ns = int(self._bounded_period() * 1e9)
        for callback in self._before_report:
            callback()
        with self._lock:
            new = self.counts - self._reported
            self._reported = self.counts.copy()
            lines = [f'{self._sentences[kind]} ({_times(new[kind])})' for kind in sorted(new)]
        if lines:
            self._logger.warning('\n'.join(lines))

    def _bounded_period(self) -> float:
        shortest, longest = _PERIODS
        return min(max(self._period(), shortest), longest)


def _times(count: int) -> str:
    return 'once' if count == 1 else f'{count} times'
