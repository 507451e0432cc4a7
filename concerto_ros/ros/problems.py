"""Problems: what goes wrong again and again, counted and reported in one throttled warning."""

import threading
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

_PERIODS = 0.01, 3600.0  # seconds; timers count nanoseconds in 64 bits


class Reporter(ABC):
    """Counts problems by kind and keeps a sentence about each.

    Args:
        where: Put in front of errors that nobody foresaw.

    Attributes:
        counts: How often each kind has occurred since the start.
        sentences: The newest of each kind.
    """

    def __init__(self, where: str = '') -> None:
        self.counts: Counter[str] = Counter()
        self.sentences: dict[str, str] = {}
        self._where = where
        self._lock = threading.Lock()

    def add(self, kind: str, sentence: str, count: int = 1) -> None:
        """Count one problem, or `count`; may be called from any thread.

        Args:
            kind: One word; problems of a kind share one line of the warning.
            sentence: Topic, cause and cure; the newest of a kind is shown.
            count: How often it has occurred.
        """
        with self._lock:
            self.counts[kind] += count
            self.sentences[kind] = sentence

    def so_far(self) -> Counter[str]:
        """Return a copy of `counts`; may be called from any thread."""
        with self._lock:
            return self.counts.copy()

    def add_exception(self) -> None:
        """Count the exception in flight, which nobody foresaw, as 'internal'."""
        self.add('internal', f'{self._where}internal error: {traceback.format_exc().strip()}')

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return a callback that counts unforeseen errors; raised, they would end the node."""

        @wraps(callback)  # rclpy looks at the signature
        def call(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception:
                self.add_exception()

        return call

    @abstractmethod
    def before_report(self, callback: Callable[[], None]) -> None:
        """Call back before each report, for problems that only counting reveals."""


class Problems(Reporter):
    """All that goes wrong in a node; from time to time warns of what is new.

    The time is that of this machine, so that reports also come while a simulator stands still.

    Args:
        node: Whose logger and executor are used.
        period: Gives the shortest time between two warnings [s], asked anew each time.
    """

    def __init__(self, node: Node, period: Callable[[], float]) -> None:
        super().__init__()
        self._reported: Counter[str] = Counter()
        self._before_report: list[Callable[[], None]] = []
        self._sources: dict[str, Reporter] = {}
        self._logger = node.get_logger()
        self._period = period
        self._timer = node.create_timer(
            self._bounded_period(), self.report, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def of(self, source: str) -> Reporter:
        """Return where a camera reports: its kinds are counted and told apart from others'."""
        return self._sources.setdefault(source, _SourceReporter(self, source))

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
            lines = [f'{self.sentences[kind]} ({_times(new[kind])})' for kind in sorted(new)]
        if lines:
            self._logger.warning('\n'.join(lines))

    def _bounded_period(self) -> float:
        shortest, longest = _PERIODS
        return min(max(self._period(), shortest), longest)


class _SourceReporter(Reporter):
    """Passes on what it counts under its own name, or as it is if that is empty."""

    def __init__(self, problems: Problems, source: str) -> None:
        super().__init__(f'camera {source}: ' if source else '')
        self._problems = problems
        self._source = source

    def add(self, kind: str, sentence: str, count: int = 1) -> None:
        super().add(kind, sentence, count)
        kind = f'{self._source}: {kind}' if self._source else kind
        self._problems.add(kind, sentence, count)

    def before_report(self, callback: Callable[[], None]) -> None:
        self._problems.before_report(self.guarded(callback))


def _times(count: int) -> str:
    return 'once' if count == 1 else f'{count} times'
