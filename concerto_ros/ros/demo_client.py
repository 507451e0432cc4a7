"""What a program on a robot does with the perception node: watch it, ask it, have it save."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from concerto_msgs.msg import LabelInfo
from concerto_msgs.msg import ObjectHit as ObjectHitMessage
from concerto_msgs.srv import FindObjects, SaveMap
from concerto_ros.errors import ConcertoError
from concerto_ros.io.closing import Closing
from concerto_ros.ros.conversions import SECOND_NS
from concerto_ros.structures import Box, Labels, ObjectHit

_PERCEPTION = '/perception_node'
_QUIET = 0.3  # seconds without a message, after which none is under way
_ANSWER_TIME = 60.0  # seconds; a network that runs on a slow CPU answers late


class DemoClient(Closing):
    """A client of a perception node; a context manager that leaves the ROS graph.

    Args:
        check: Called again and again while waiting; may raise to end it.

    Attributes:
        num_fused: Frames that the node said it has fused.
        labels: What the label ids mean; None until the node has told.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self.num_fused = 0
        self.labels: Labels | None = None
        self._check = check
        rclpy.init()
        self._node = rclpy.create_node('demo')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscribe, client = self._node.create_subscription, self._node.create_client
        self._subscriptions = [
            subscribe(Header, f'{_PERCEPTION}/integrated', self._count, 1000),
            # the last one, so that whoever is heard here hears all of us
            subscribe(LabelInfo, f'{_PERCEPTION}/label_info', self._take_labels, latched),
        ]
        self._find = client(FindObjects, f'{_PERCEPTION}/find_objects')
        self._save = client(SaveMap, f'{_PERCEPTION}/save_map')

    def close(self) -> None:
        """Leave the ROS graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Spin until a condition holds.

        Raises:
            ConcertoError: It does not within `seconds`; `what` names it.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self._check()
            if time.monotonic() > deadline:
                raise ConcertoError(f'waited {seconds:.0f} s in vain for {what}')
            self._executor.spin_once(timeout_sec=0.05)

    def take_what_came(self) -> None:
        """Spin until no more messages come."""
        num_fused, deadline = self.num_fused, time.monotonic() + _QUIET
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.05)
            if self.num_fused > num_fused:
                num_fused, deadline = self.num_fused, time.monotonic() + _QUIET

    def find(self, text: str) -> FindObjects.Response:
        """Ask where something is."""
        return self._call(self._find, FindObjects.Request(text=text))

    def save(self, path: Path) -> SaveMap.Response:
        """Have the map written.

        Raises:
            ConcertoError: It could not be written.
        """
        response = self._call(self._save, SaveMap.Request(path=str(path.absolute())))
        if not response.success:
            raise ConcertoError(f'the map was not saved: {response.message}')
        return response

    def _call(self, client: Any, request: Any) -> Any:
        name = client.srv_name
        self.until(client.service_is_ready, _ANSWER_TIME, f'the service {name}')
        future = client.call_async(request)
        self.until(future.done, _ANSWER_TIME, f'the answer of {name}')
        return future.result()

    def _count(self, _: Header) -> None:
        self.num_fused += 1

    def _take_labels(self, message: LabelInfo) -> None:
        names = ['unknown'] * (max(message.ids, default=0) + 1)
        colors = np.full((len(names), 3), 128, dtype=np.uint8)
        for index, name, color in zip(message.ids, message.names, message.colors, strict=True):
            names[index] = name
            colors[index] = [round(255 * channel) for channel in (color.r, color.g, color.b)]
        self.labels = Labels(vocabulary=message.vocabulary, names=tuple(names), colors=colors)


def object_hit(message: ObjectHitMessage) -> ObjectHit:
    """Return an object of an answer as a plain value."""
    pose, size = message.box_pose, message.box_size
    return ObjectHit(
        id=message.id,
        label=message.label,
        score=message.score,
        center=_array(message.center),
        box=Box(
            center=_array(pose.position),
            size=_array(size),
            yaw=2 * math.atan2(pose.orientation.z, pose.orientation.w),
        ),
        num_points=message.num_points,
        num_views=message.num_views,
        first_seen_ns=message.first_seen.sec * SECOND_NS + message.first_seen.nanosec,
        last_seen_ns=message.last_seen.sec * SECOND_NS + message.last_seen.nanosec,
    )


def _array(xyz: Any) -> np.ndarray:
    return np.array([xyz.x, xyz.y, xyz.z])
