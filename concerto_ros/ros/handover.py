"""Handover: what other threads leave for the executor of a node to do."""

import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future

from concerto_ros.errors import ConcertoError

_LOOK_PERIOD = 0.5  # [s], for functions whose wake-up was lost


class Handover:
    """Has the executor of a node call functions; all methods may be called by any thread.

    Coroutines are resumed by the executor only, so it must be the one to complete what they await.
    The wake-up by a guard condition can be lost (with rmw_fastrtps three times in 125 runs of a
    test) and nothing else may happen for long, so the executor also looks by itself.

    Args:
        node: Whose executor it is; its logger takes the errors.

    Attributes:
        num_failures: Errors that nobody foresaw.
    """

    def __init__(self, node: Node) -> None:
        self.num_failures = 0
        self._node = node
        self._functions: deque[Callable[[], None]] = deque()
        group = MutuallyExclusiveCallbackGroup()
        self._guard = node.create_guard_condition(self._call_all, group)
        clock = Clock(clock_type=ClockType.STEADY_TIME)  # runs on while simulated time stands
        self._timer = node.create_timer(_LOOK_PERIOD, self._call_all, group, clock)

    def call(self, function: Callable[[], None]) -> None:
        """Have the executor call a function soon; after the node's end, never."""
        self._functions.append(function)
        if self._node.context.ok():
            self._guard.trigger()

    def answer(self, job: Callable[[], Any], future: Future) -> None:
        """Do a job on this thread; the executor completes the future with what came of it."""
        try:
            answer = partial(future.set_result, job())
        except Exception as err:
            answer = partial(future.set_exception, err)
            if not isinstance(err, ConcertoError):
                self.report()
        self.call(answer)

    def report(self) -> None:
        """Log the exception in flight, unless it only comes from the end of the process."""
        if self._node.context.ok():
            self.num_failures += 1
            self._node.get_logger().error(f'internal error: {traceback.format_exc()}')

    def _call_all(self) -> None:
        while self._functions:
            self._functions.popleft()()
