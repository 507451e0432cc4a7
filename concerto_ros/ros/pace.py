"""Pace: keeps repeated work apart in time."""

import time
from types import TracebackType


class Pace:
    """Says when work may be done again: after a period, and never using more than its share.

        pace = Pace(max_share=0.1)
        if pace.wait(period) == 0:
            with pace:
                work()

    Args:
        max_share: Of the time that the work may take, 0..1.
    """

    def __init__(self, max_share: float) -> None:
        self._rest_factor = 1 / max_share - 1
        self.hurry()

    def wait(self, period: float) -> float:
        """Return how long to wait [s] so that `period` [s] passes between end and next start."""
        rest = max(period, self._rest_factor * self._duration)
        return max(0.0, self._end + rest - time.monotonic())

    def hurry(self) -> None:
        """Allow the work at once."""
        self._end, self._duration = float('-inf'), 0.0

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end = time.monotonic()
        self._duration = self._end - self._start
