"""The buffer of a node: waits for transforms, and starts afresh when time jumps back."""

import time as wall_time
from typing import Any

from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time

from tf2_ros.buffer_core import BufferCore


class Buffer(BufferCore):
    """Transforms over time, with waiting.

    Args:
        cache_time: How long samples are kept; None: 10 s.
        node: Node whose clock is watched: moving frames are forgotten when it jumps back. (The
            real class also offers its tree of frames as a service; this one does not.)
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        super().__init__(cache_time)
        self._waiting: list[tuple[Future, tuple[str, str, Any]]] = []
        if node is not None:
            threshold = JumpThreshold(
                min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True
            )
            self.jump_handle = node.get_clock().create_jump_callback(
                threshold, post_callback=self.time_jump_callback
            )

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        """Forget the moving frames: their stamps belong to another run of time."""
        get_logger('tf2_buffer').warning('Detected jump back in time. Clearing TF buffer.')
        self.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a sample of a moving frame; a bad or too old one is logged and ignored."""
        super().set_transform(transform, authority)
        self._answer_waiting()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Set the place of a frame that does not move; a bad one is logged and ignored."""
        super().set_transform_static(transform, authority)
        self._answer_waiting()

    def lookup_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time | TimeMsg,
        timeout: Duration = Duration(),  # noqa: B008 - never changed
    ) -> TransformStamped:
        """Return the transform from source to target coordinates, waiting for it if need be.

        Arguments and errors are those of `lookup_transform_core`; `timeout` is wall time, during
        which the calling thread is blocked.
        """
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time | TimeMsg,
        timeout: Duration = Duration(),  # noqa: B008 - never changed
        return_debug_tuple: bool = False,
    ) -> int | tuple[int, str]:
        """Tell whether a transform is known, waiting for it if need be.

        Returns:
            1 or 0; with `return_debug_tuple`, that and why not.
        """
        end = wall_time.monotonic() + timeout.nanoseconds / 1e9
        with self._changed:
            result = self.can_transform_core(target_frame, source_frame, time)
            while not result[0] and self._changed.wait(max(end - wall_time.monotonic(), 0.0)):
                result = self.can_transform_core(target_frame, source_frame, time)
        return result if return_debug_tuple else result[0]

    def wait_for_transform_async(
        self, target_frame: str, source_frame: str, time: Time | TimeMsg
    ) -> Future:
        """Return a future that becomes the transform as soon as it is known."""
        future = Future()
        with self._changed:
            self._waiting.append((future, (target_frame, source_frame, time)))
        self._answer_waiting()
        return future

    async def lookup_transform_async(
        self, target_frame: str, source_frame: str, time: Time | TimeMsg
    ) -> TransformStamped:
        """Return the transform as soon as it is known, without blocking the thread."""
        return await self.wait_for_transform_async(target_frame, source_frame, time)

    def _answer_waiting(self) -> None:
        """Complete the futures whose transform is known by now; drop those given up."""
        with self._changed:
            waiting = [
                entry for entry in self._waiting if not (entry[0].done() or entry[0].cancelled())
            ]
            answered = [entry for entry in waiting if self.can_transform_core(*entry[1])[0]]
            self._waiting = [entry for entry in waiting if entry not in answered]
            results = [(future, self.lookup_transform_core(*ask)) for future, ask in answered]
        for future, transform in results:
            future.set_result(transform)
