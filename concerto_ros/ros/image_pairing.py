"""Pairs of images by approximate time that survive jumps of time, such as a looping recording."""

from collections.abc import Callable
from functools import partial
from typing import Any

from message_filters import ApproximateTimeSynchronizer, SimpleFilter

from concerto_ros.ros.conversions import stamp_ns
from concerto_ros.ros.transforms import TIME_JUMP_NS


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
    """

    def __init__(
        self, num_inputs: int, queue_size: int, slop: float, on_jump: Callable[[int], None]
    ) -> None:
        self._new_run = partial(_Run, num_inputs, queue_size, slop)
        self._run = self._new_run()
        self._run_before: _Run | None = None
        self._on_jump = on_jump

    def add(self, index: int, message: Any) -> tuple[Any, ...] | None:
        """Take a message of an input; return the messages of the set it completes, if any."""
        stamp = stamp_ns(message)
        if stamp < self._run.newest.get(index, stamp) - TIME_JUMP_NS:
            self._run_before, self._run = self._run, self._new_run()
            self._on_jump(stamp)
        return self._run_of(index, stamp).add(index, stamp, message)

    def _run_of(self, index: int, stamp: int) -> '_Run':
        """Return the run before for an input that has not jumped yet and goes on with it."""
        before = self._run_before
        if before is None or index in self._run.newest or index not in before.newest:
            return self._run
        return before if stamp >= before.newest[index] - TIME_JUMP_NS else self._run


class _Run:
    """The messages between two jumps of time; `newest` is the newest stamp of each input [ns]."""

    def __init__(self, num_inputs: int, queue_size: int, slop: float) -> None:
        self.newest: dict[int, int] = {}
        self._inputs = [SimpleFilter() for _ in range(num_inputs)]
        self._synchronizer = ApproximateTimeSynchronizer(self._inputs, queue_size, slop)
        self._synchronizer.registerCallback(self._keep)
        self._completed: tuple[Any, ...] | None = None

    def add(self, index: int, stamp: int, message: Any) -> tuple[Any, ...] | None:
        self.newest[index] = max(stamp, self.newest.get(index, stamp))
        self._completed = None
        self._inputs[index].signalMessage(message)
        return self._completed

    def _keep(self, *messages: Any) -> None:
        """Hand the set over to `add`: work done here would hold the synchroniser's lock."""
        self._completed = messages
