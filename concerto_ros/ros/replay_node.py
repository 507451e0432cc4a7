"""replay_node: plays a recording as the topics of a camera, at its pace or in lock-step.

python -m concerto_ros.ros.replay_node --ros-args -p source:=BAG -p lock_step:=true -p rate:=0.0
"""

import sys

if __name__ == '__main__':  # before the other imports, which take seconds, see programs
    from concerto_ros.ros.programs import replay_node

    sys.exit(replay_node())

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
import tf2_ros
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tqdm import tqdm

from concerto_ros.config.tree import param
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import invert
from concerto_ros.ros.conversions import (
    SECOND_NS,
    camera_info_message,
    color_message,
    depth_message,
    make_header,
    transform_message,
)
from concerto_ros.ros.parameters import Parameters
from concerto_ros.ros.process import run_node
from concerto_ros.ros.recordings import open_recording

COLOR_FRAME = 'camera_color_optical_frame'
DEPTH_FRAME = 'camera_depth_optical_frame'
MAP_FRAME = 'map'

_TICK = 0.005  # seconds
_ASK_PERIOD = 5.0  # seconds between two notes that nobody listens
_GRACE = 5.0  # seconds for subscriptions to adapt to what is offered


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """The parameters of the replay."""

    source: str = param('', 'Bag, folder of frames, or rooms:SEED.')
    up: str = param('auto', "What becomes z: auto, none, 'x,y,z', or FILE.json:KEY.")
    num_frames: int = param(0, 'Frames from the start to play; 0: all.', ge=0)
    rate: float = param(1.0, 'Speed, 1 is as recorded; 0: as fast as possible.', ge=0.0)
    lock_step: bool = param(False, 'Wait after each frame until the perception node has fused it.')
    integrated_topic: str = param(
        'perception_node/integrated', 'Where the perception node says what it has fused.'
    )
    timeout: float = param(
        10.0, 'How long lock_step waits for one frame before it goes on.', unit='s', gt=0.0
    )
    loop: bool = param(False, 'Start again at the end.')


class ReplayNode(Node):
    """Publishes colour, depth, both camera_infos and /tf; images of one frame have one stamp.

    The frame of the recording is published under its name where that is odom (then with
    map -> odom), else as map.

    Args:
        on_end: Called after the last frame.
        **options: Passed on to `rclpy.node.Node`.

    Attributes:
        num_played: Frames published so far.
        num_unconfirmed: Of these, how many were not fused in time (lock-step only).

    Raises:
        ConcertoError: A parameter is wrong or the recording is unusable.
    """

    def __init__(self, on_end: Callable[[], Any], **options: Any) -> None:
        super().__init__('replay_node', **options)
        self.num_played = self.num_unconfirmed = 0
        self._on_end = on_end
        self._config = Parameters(self, ReplayConfig).config
        self._source = open_recording(
            self._config.source, self._config.up, self._config.num_frames
        )
        self._world = 'odom' if self._source.frame_id == 'odom' else MAP_FRAME
        self._output = _CameraOutput(self, self._world)
        self._confirmed = self.create_subscription(
            Header, self._config.integrated_topic, self._on_integrated, 10
        )
        self._progress = tqdm(
            total=self._source.num_frames_hint, desc='replay', unit='frame', disable=None
        )
        self._awaited: tuple[int, float] | None = None  # stamp [ns], until when (monotonic)
        self._is_heard = not self._config.lock_step
        self._asked = self._matched = float('-inf')  # monotonic seconds
        self._rewind()
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(_TICK, self._tick, clock=clock)
        self.get_logger().info(f'playing {self._source.description}')

    def destroy_node(self) -> None:
        """Close the recording and the progress bar, then the node."""
        if hasattr(self, '_progress'):  # else the start failed
            self._progress.close()
            self._source.close()
        super().destroy_node()

    def _rewind(self) -> None:
        if self._world != MAP_FRAME:
            self._output.publish_map(self._source.T_map_fusion)
        self._frames: Iterator[RGBDFrame] = iter(self._source)
        self._upcoming = next(self._frames, None)
        self._start: tuple[int, float] | None = None  # stamp [ns] and monotonic time of the first

    def _tick(self) -> None:
        """Play the next frame if it is time."""
        if not (self._is_heard or self._listen()) or self._is_awaiting():
            return
        if self._upcoming is None:
            self._end()
        elif time.monotonic() >= self._due(self._upcoming):
            self._output.publish(self._upcoming)
            if self._config.lock_step:
                deadline = time.monotonic() + self._config.timeout
                self._awaited = self._upcoming.stamp_ns, deadline
            self.num_played += 1
            self._progress.update()
            self._upcoming = next(self._frames, None)

    def _due(self, frame: RGBDFrame) -> float:
        """Return the monotonic time at which to publish a frame."""
        if self._start is None:
            self._start = frame.stamp_ns, time.monotonic()
        if self._config.rate == 0:
            return 0.0
        start_ns, start = self._start
        return start + (frame.stamp_ns - start_ns) / SECOND_NS / self._config.rate

    def _on_integrated(self, header: Header) -> None:
        stamp = header.stamp.sec * SECOND_NS + header.stamp.nanosec
        if self._awaited is not None and self._awaited[0] == stamp:
            self._awaited = None
            self._tick()

    def _is_awaiting(self) -> bool:
        if self._awaited is not None and time.monotonic() > self._awaited[1]:
            self.num_unconfirmed += 1
            self._awaited = None
        return self._awaited is not None

    def _listen(self) -> bool:
        """Tell whether the perception node hears all topics; now and then say that it does not."""
        unheard = self._output.unheard()
        if not self.count_publishers(self._confirmed.topic_name):
            unheard.append(f'{self._confirmed.topic_name} (as publisher)')
        now = time.monotonic()
        if unheard:
            self._matched = float('inf')
            if now - self._asked > _ASK_PERIOD:
                self._asked = now
                self.get_logger().info(f'waiting for the perception node on {", ".join(unheard)}')
            return False
        self._matched = min(self._matched, now)
        self._is_heard = self._output.is_reliably_heard() or now - self._matched > _GRACE
        return self._is_heard

    def _end(self) -> None:
        for reason, count in self._source.dropped.items():
            self.get_logger().warning(f'{count} frames of the recording left out: {reason}')
        if self._config.loop and self.num_played:
            self._rewind()
            return
        self._timer.cancel()
        self._output.flush()
        missed = f', {self.num_unconfirmed} of them not fused in time' * bool(self.num_unconfirmed)
        self.get_logger().info(f'played {self.num_played} frames{missed}')
        self._on_end()


class _CameraOutput:
    """The publishers of a camera and its transforms.

    Args:
        node: Whose they are.
        world: Name of the frame of `T_map_depth`.
    """

    def __init__(self, node: Node, world: str) -> None:
        self._node = node
        self._world = world
        self._color = node.create_publisher(Image, 'color/image', 5)
        self._depth = node.create_publisher(Image, 'depth/image', 5)
        self._color_info = node.create_publisher(CameraInfo, 'color/camera_info', 5)
        self._depth_info = node.create_publisher(CameraInfo, 'depth/camera_info', 5)
        self._camera = [self._color, self._depth, self._color_info, self._depth_info]
        self._tf = tf2_ros.TransformBroadcaster(node)
        self._tf_static = tf2_ros.StaticTransformBroadcaster(node)

    def publish_map(self, T_map_world: np.ndarray) -> None:
        """Say where the world frame lies in the map, for good."""
        self._tf_static.sendTransform(transform_message(MAP_FRAME, self._world, 0, T_map_world))

    def publish(self, frame: RGBDFrame) -> None:
        """Publish the transforms and messages of one frame, with one stamp."""
        stamp = frame.stamp_ns
        is_registered = np.allclose(frame.T_color_depth, np.eye(4), rtol=0, atol=1e-9)
        depth_frame = COLOR_FRAME if is_registered else DEPTH_FRAME
        transforms = [transform_message(self._world, depth_frame, stamp, frame.T_map_depth)]
        if not is_registered:
            T_depth_color = invert(frame.T_color_depth)
            transforms.append(transform_message(DEPTH_FRAME, COLOR_FRAME, stamp, T_depth_color))
        self._tf.sendTransform(transforms)
        color_header, depth_header = (make_header(f, stamp) for f in (COLOR_FRAME, depth_frame))
        self._color_info.publish(camera_info_message(color_header, frame.color_camera))
        self._depth_info.publish(camera_info_message(depth_header, frame.depth_camera))
        self._color.publish(color_message(color_header, frame.color))
        self._depth.publish(depth_message(depth_header, frame.depth))

    def unheard(self) -> list[str]:
        """Return the topics without a subscription."""
        publishers = [*self._camera, self._tf.pub_tf]
        return [p.topic_name for p in publishers if not p.get_subscription_count()]

    def is_reliably_heard(self) -> bool:
        """Tell whether no message of the camera can get lost."""
        return all(self._is_reliably_heard(publisher) for publisher in self._camera)

    def _is_reliably_heard(self, publisher: Any) -> bool:
        """Tell whether a reliable subscription is known, and all that are known are connected."""
        found = self._node.get_subscriptions_info_by_topic(publisher.topic_name)
        return publisher.get_subscription_count() >= len(found) and any(
            s.qos_profile.reliability == ReliabilityPolicy.RELIABLE for s in found
        )

    def flush(self) -> None:
        """Wait until what was published has arrived, so that the process may end."""
        for publisher in self._camera:
            publisher.wait_for_all_acked(Duration(seconds=1))


def main(args: Sequence[str] | None = None) -> int:
    """Play until the end or Ctrl-C; return the exit code."""
    return run_node(lambda: ReplayNode(on_end=rclpy.try_shutdown), args)
