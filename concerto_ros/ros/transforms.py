"""Transforms at a stamp, from /tf and /tf_static, and the frame in which to fuse."""

from collections.abc import Callable

import numpy as np
import tf2_ros
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time

from concerto_ros.config.schema import FramesConfig
from concerto_ros.errors import TransformUnavailable
from concerto_ros.ros.conversions import stamp_ns, transform_matrix

TIME_JUMP_NS = 500_000_000  # a stamp this much older than the one before it means a jump of time

Matrix = NDArray[np.float64]


class Transforms:
    """What a node knows of the frames around it.

    Looks up, never waits: on a single-threaded executor waiting would keep the transforms out.

    Args:
        node: The node that listens; /tf and /tf_static follow its remappings.
        frames: Names of the world frames.
    """

    def __init__(self, node: Node, frames: FramesConfig) -> None:
        self._frames = frames
        self._buffer = _LoopingBuffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def lookup(self, target: str, source: str, stamp: int) -> Matrix:
        """Return T_target_source (4, 4) at a stamp [ns].

        Raises:
            TransformUnavailable: Not known, or not yet, or the stamp is not positive.
        """
        if stamp <= 0:  # to tf2, zero would mean the newest
            raise TransformUnavailable(
                f'no transform from {source!r} to {target!r}: a stamp of {stamp} ns is no time'
            )
        return self._lookup(target, source, stamp)

    def latest(self, target: str, source: str) -> Matrix:
        """Return the newest T_target_source (4, 4).

        Raises:
            TransformUnavailable: Nothing connects the two frames.
        """
        return self._lookup(target, source, 0)

    def fusion_frame(self, depth_frame: str, stamp: int) -> str:
        """Return the continuous frame if it places the camera at a stamp [ns], else the map frame.

        Raises:
            TransformUnavailable: Neither does.
        """
        reasons = []
        for name in dict.fromkeys((self._frames.odom, self._frames.map)):
            try:
                self.lookup(name, depth_frame, stamp)
            except TransformUnavailable as err:
                reasons.append(str(err))
            else:
                return name
        raise TransformUnavailable('; '.join(reasons))

    def before_clear(self, callback: Callable[[], None]) -> None:
        """Call back just before transforms are forgotten because time jumped back."""
        self._buffer.before_clear = callback

    def start_over(self, stamp: int) -> None:
        """Forget transforms of a later time: images have jumped back to this stamp [ns]."""
        if self._buffer.newest_ns > stamp + TIME_JUMP_NS:
            self._buffer.start_over()

    def _lookup(self, target: str, source: str, stamp: int) -> Matrix:
        try:
            found = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp))
            return transform_matrix(found)
        except (tf2_ros.TransformException, ValueError) as err:
            raise TransformUnavailable(
                f'no transform from {source!r} to {target!r}: {str(err).strip()}'
            ) from err


class _LoopingBuffer:
    """What a listener fills: a buffer that starts over when the stamps of a frame jump back.

    Else a looping recording would find its new transforms refused as too old. The buffer gets no
    node, whose clock would clear it a second time.
    """

    def __init__(self) -> None:
        self.before_clear: Callable[[], None] | None = None
        self._buffer = tf2_ros.Buffer()
        self._newest: dict[str, int] = {}
        self.lookup_transform = self._buffer.lookup_transform
        self.set_transform_static = self._buffer.set_transform_static

    @property
    def newest_ns(self) -> int:
        """Newest stamp of a moving frame [ns]; 0 without any."""
        return max(self._newest.values(), default=0)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a sample of a moving frame."""
        child, stamp = transform.child_frame_id, stamp_ns(transform)
        if stamp < self._newest.get(child, stamp) - TIME_JUMP_NS:
            self.start_over()
        self._newest[child] = max(stamp, self._newest.get(child, stamp))
        self._buffer.set_transform(transform, authority)

    def start_over(self) -> None:
        """Forget where moving frames were; static ones stay."""
        if self.before_clear is not None:
            self.before_clear()
        self._newest.clear()
        self._buffer.clear()
