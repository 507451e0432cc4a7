"""Pairs of images by approximate time that survive jumps of time, such as a looping recording."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from message_filters import ApproximateTimeSynchronizer, SimpleFilter

from concerto_ros.ros.conversions import stamp_ns
from concerto_ros.ros.transforms import TIME_JUMP_NS

_NUM_RECENT = 100  # stamps


class ImagePairing:
    """Pairs messages of several inputs; a jump back in time starts afresh.

    ROS's synchroniser gives up the smallest stamps of a full queue, so after a jump back it would
    give up the new ones. Inputs jump one after the other, and last messages of the old run may
    follow first ones of the new: both runs have a synchroniser of their own, so that every loop
    of a recording gives the same pairs.

    Args:
        num_inputs: Number of inputs.
        queue_size: Messages of an input that wait for their partners.
        slop: Stamps of a pair differ by less than this [s].
        on_jump: Called with the new stamp [ns] when time has jumped back.

    Attributes:
        num_pairs: Sets so far.
        num_received: Messages so far, of each input.
        num_unpaired: How many of them a full queue has pushed out without partners.
    """

    def __init__(
        self, num_inputs: int, queue_size: int, slop: float, on_jump: Callable[[int], None]
    ) -> None:
        self.num_pairs = 0
        self.num_received = [0] * num_inputs
        self.num_unpaired = [0] * num_inputs
        self._new_run = partial(_Run, num_inputs, queue_size, slop)
        self._run = self._new_run()
        self._run_before: _Run | None = None
        self._on_jump = on_jump

    def add(self, index: int, message: Any) -> tuple[Any, ...] | None:
        """Take a message of an input; return the messages of the set it completes, if any.

        Its stamp must be positive: the synchroniser raises on others, and keeps its lock.
        """
        stamp = stamp_ns(message)
        if stamp < self._run.newest.get(index, stamp) - TIME_JUMP_NS:
            self._run_before, self._run = self._run, self._new_run()
            self._on_jump(stamp)
        run = self._run_of(index, stamp)
        num_waiting = run.num_waiting(index) + 1
        completed = run.add(index, stamp, message)
        is_paired = completed is not None
        self.num_pairs += is_paired
        self.num_received[index] += 1
        self.num_unpaired[index] += num_waiting - is_paired - run.num_waiting(index)
        return completed

    @property
    def recent(self) -> list[deque[int]]:
        """The newest stamps [ns] of each input since the last jump, in order of arrival."""
        return self._run.recent

    def _run_of(self, index: int, stamp: int) -> '_Run':
        """Return the run before for an input that has not jumped yet and goes on with it."""
        before = self._run_before
        if before is None or index in self._run.newest or index not in before.newest:
            return self._run
        return before if stamp >= before.newest[index] - TIME_JUMP_NS else self._run


class _Run:
    """The messages between two jumps of time.

    Attributes:
        newest: Newest stamp of each input [ns].
        recent: Stamps of each input [ns], the last of all.
    """

    def __init__(self, num_inputs: int, queue_size: int, slop: float) -> None:
        self.newest: dict[int, int] = {}
        self.recent: list[deque[int]] = [deque(maxlen=_NUM_RECENT) for _ in range(num_inputs)]
        self._inputs = [SimpleFilter() for _ in range(num_inputs)]
        self._synchronizer = ApproximateTimeSynchronizer(self._inputs, queue_size, slop)
        self._synchronizer.registerCallback(self._keep)
        self._completed: tuple[Any, ...] | None = None

    def add(self, index: int, stamp: int, message: Any) -> tuple[Any, ...] | None:
        self.newest[index] = max(stamp, self.newest.get(index, stamp))
        self.recent[index].append(stamp)
        self._completed = None
        self._inputs[index].signalMessage(message)
        return self._completed

    def num_waiting(self, index: int) -> int:
        """Return how many messages of an input wait for partners."""
        return len(self._synchronizer.queues[index])

    def _keep(self, *messages: Any) -> None:
        """Hand the set over to `add`: work done here would hold the synchroniser's lock."""
        self._completed = messages
