"""From the path that a pose graph publishes to PosePath."""

from collections.abc import Callable

import numpy as np
from nav_msgs.msg import Path
from rclpy.node import Node

from concerto_ros.geometry.pose_path import PosePath
from concerto_ros.ros.adaptive_subscription import AdaptiveSubscription
from concerto_ros.ros.conversions import stamp_ns
from concerto_ros.ros.problems import Problems


class PoseGraphInput:
    """Subscribes to `pose_graph`: the whole path of the robot's body, again after each correction.

    A path that cannot be right is dropped, counted and reported.

    Args:
        node: The node that subscribes.
        map_frame: Frame in which the path must be.
        problems: Where to report.
        on_path: Called with each path, on the executor's thread: it must return at once.

    Attributes:
        topic: Name after all remappings.
    """

    def __init__(
        self, node: Node, map_frame: str, problems: Problems, on_path: Callable[[PosePath], None]
    ) -> None:
        self._map_frame = map_frame.lstrip('/')
        self._problems = problems
        self._on_path = on_path
        self._subscription = AdaptiveSubscription(
            node, Path, 'pose_graph', self._take, qos='auto', problems=problems
        )
        self.topic = self._subscription.topic

    def _take(self, message: Path) -> None:
        try:
            path = pose_path(message, self._map_frame)
        except ValueError as err:
            self._problems.add(
                'pose_graph',
                f'{self.topic}: dropped a path of {len(message.poses)} poses: {err}; have it '
                'published correctly, or remap pose_graph elsewhere',
            )
        else:
            self._on_path(path)


def pose_path(message: Path, frame_id: str) -> PosePath:
    """Return the poses of a path, each at its own stamp.

    Raises:
        ValueError: It is empty or not in the frame `frame_id`, stamps do not ascend, a number is
            not finite, or a quaternion has not the length 1.
    """
    stated = message.header.frame_id.lstrip('/')
    frames = {pose.header.frame_id.lstrip('/') or stated for pose in message.poses} | {stated}
    if frames != {frame_id}:
        found = ', '.join(map(repr, sorted(frames)))
        raise ValueError(f'it is in the frame {found}, not in {frame_id!r} (frames.map)')
    values = [
        (p.x, p.y, p.z, q.x, q.y, q.z, q.w)
        for p, q in ((pose.pose.position, pose.pose.orientation) for pose in message.poses)
    ]
    numbers = np.array(values, dtype=np.float64).reshape(-1, 7)
    return PosePath(
        stamps_ns=np.array([stamp_ns(pose) for pose in message.poses], dtype=np.int64),
        translation=numbers[:, :3],
        quaternion=numbers[:, 3:],
    )
