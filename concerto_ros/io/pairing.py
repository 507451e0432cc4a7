"""Match messages of several inputs by stamp, as ROS's ApproximateTimeSynchronizer does."""

import itertools
from typing import Any


class ApproximatePairing:
    """Make sets of one item per input whose stamps lie less than `slop` apart.

    The same messages in the same order give the same sets as in ROS: at most one set per arriving
    item; candidates are tried nearest first; items of a set are used up; beyond `queue_size`
    items of an input, its smallest stamp is given up. A spread of exactly `slop` is too much, so
    a slop of zero never matches. Sets can come out older than the set before.
    """

    def __init__(self, num_inputs: int, queue_size: int, slop: float) -> None:
        """Start empty.

        Args:
            num_inputs: Number of inputs.
            queue_size: Items kept per input.
            slop: Upper limit of the spread of stamps in a set, not reached [s].
        """
        self._queues: list[dict[int, Any]] = [{} for _ in range(num_inputs)]
        self._queue_size = queue_size
        self._slop_ns = int(slop * 1e9)

    def add(self, input_index: int, stamp_ns: int, item: object) -> tuple[Any, ...] | None:
        """Take one item (the same stamp replaces), return the set it completes, in input order."""
        queue = self._queues[input_index]
        queue[stamp_ns] = item
        while len(queue) > self._queue_size:
            del queue[min(queue)]
        if stamp_ns not in queue:  # it was itself the smallest of a full queue
            return None
        candidates = [
            [stamp_ns] if other is queue else self._near(other, stamp_ns) for other in self._queues
        ]
        for stamps in itertools.product(*candidates):
            if max(stamps) - min(stamps) < self._slop_ns:
                return tuple(q.pop(s) for q, s in zip(self._queues, stamps, strict=True))
        return None

    def clear(self) -> None:
        """Forget all items, as is needed when the clock jumps back."""
        for queue in self._queues:
            queue.clear()

    def _near(self, queue: dict[int, Any], stamp_ns: int) -> list[int]:
        stamps = [s for s in queue if abs(s - stamp_ns) <= self._slop_ns]
        return sorted(stamps, key=lambda s: abs(s - stamp_ns))
