"""Problems: what goes wrong again and again, counted and reported in one throttled warning."""

import threading
from collections import Counter
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node


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
        self._lock = threading.Lock()
        self._logger = node.get_logger()
        self._period = period
        self._timer = node.create_timer(
            period(), self.report, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def add(self, kind: str, sentence: str) -> None:
        """Count one problem; may be called from any thread.

        Args:
            kind: One word; problems of a kind share one line of the warning.
            sentence: Topic, cause and cure; the newest of a kind is shown.
        """
        with self._lock:
            self.counts[kind] += 1
            self._sentences[kind] = sentence

    def report(self) -> None:
        """Warn of what is new since the last report; say nothing if nothing is."""
        self._timer.timer_period_ns = int(self._period() * 1e9)
        with self._lock:
            new = self.counts - self._reported
            self._reported = self.counts.copy()
            lines = [f'{self._sentences[kind]} ({_times(new[kind])})' for kind in sorted(new)]
        if lines:
            self._logger.warning('\n'.join(lines))


def _times(count: int) -> str:
    return 'once' if count == 1 else f'{count} times'
