"""From the topics of an RGB-D camera and /tf to RGBDFrame."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from concerto_ros.config.schema import Qos
from concerto_ros.errors import CalibrationError, FrameError, TransformUnavailable
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.io.calibration import Calibration, camera_from_info, stereo_warning
from concerto_ros.io.frame_assembly import CameraImage, assemble_frame, frame_transforms
from concerto_ros.ros.adaptive_subscription import AdaptiveSubscription
from concerto_ros.ros.conversions import (
    SECOND_NS,
    calibration,
    color_image,
    depth_image,
    stamp_ns,
)
from concerto_ros.ros.image_pairing import ImagePairing
from concerto_ros.ros.parameters import NodeParameters
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.silence import SilenceWatch
from concerto_ros.ros.transforms import Transforms

_MAX_WAITING = 32  # frames; one second of a camera
_RETRY_PERIOD = 0.02  # seconds


@dataclass(slots=True, kw_only=True)
class _Pair:
    """Two images that belong together, since when they wait (monotonic, s), and for what."""

    color: Any
    depth: Any
    since: float


class CalibrationMissing(Exception):  # noqa: N818 - a state of the world
    """No camera_info has arrived yet."""


class CameraInput:
    """Subscribes to a camera; delivers frames, counts and reports what cannot become one.

    Colour and depth are paired by approximate time. The newest camera_info of each stream is
    taken whatever its stamp, as many drivers publish it rarely. A pair waits for its transform
    (and for the first camera_info) up to `input.transform_timeout`, without holding up others.

    Args:
        node: The node that subscribes.
        parameters: Its parameters.
        transforms: Where the camera is.
        problems: Where to report.
        on_frame: Called with each frame and the frame in which it is to be fused, on the
            executor's thread: it must return at once.
        on_time_jump: Called when the stamps of the images have jumped back.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        transforms: Transforms,
        problems: Problems,
        on_frame: Callable[[RGBDFrame, str], None],
        on_time_jump: Callable[[], None],
    ) -> None:
        self._parameters = parameters
        self._transforms = transforms
        self._problems = problems
        self._on_frame = on_frame
        self._on_time_jump = on_time_jump
        self._fusion_frame: str | None = None
        self._infos: dict[str, Calibration] = {}
        self._does_without_depth_info = False
        self._waiting: list[_Pair] = []
        config = parameters.config.input
        self._pairing = ImagePairing(2, config.queue_size, config.slop, self._start_over)
        self._subscribe(node)
        self._timer = node.create_timer(
            _RETRY_PERIOD,
            problems.guarded(self._retry),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._timer.cancel()
        transforms.before_clear(self._retry)
        self._silence = SilenceWatch(
            parameters, problems, (self._color, self._depth), self._color_info, self._pairing
        )

    def forget_fusion_frame(self) -> None:
        """Choose the frame in which to fuse anew, with the next frame."""
        self._fusion_frame = None

    def _subscribe(self, node: Node) -> None:
        def stream(
            message_type: type, topic: str, callback: Callable[[Any], None], qos: Qos = 'auto'
        ) -> AdaptiveSubscription:
            return AdaptiveSubscription(
                node, message_type, topic, callback, qos=qos, problems=self._problems
            )

        def images(topic: str, transport: str, index: int) -> AdaptiveSubscription:
            return stream(
                Image if transport == 'raw' else CompressedImage,
                topic if transport == 'raw' else image_topic(node, topic, transport),
                lambda message: self._take_image(index, message),
                config.qos,
            )

        def info(topic: str, kind: str) -> AdaptiveSubscription:
            return stream(CameraInfo, topic, lambda message: self._take_info(kind, message))

        config = self._parameters.config.input
        self._color = images('color/image', config.color_transport, 0)
        self._depth = images('depth/image', config.depth_transport, 1)
        self._color_info = info('color/camera_info', 'color')
        self._depth_info = info('depth/camera_info', 'depth')

    def _take_info(self, kind: str, message: CameraInfo) -> None:
        info = calibration(message)
        if kind not in self._infos and (sentence := stereo_warning(info)):
            topic = (self._color_info if kind == 'color' else self._depth_info).topic
            self._problems.add('stereo', f'{topic}: {sentence}')
        self._infos[kind] = info

    def _take_image(self, index: int, message: Image | CompressedImage) -> None:
        if stamp_ns(message) <= 0:
            topic = (self._color, self._depth)[index].topic
            self._problems.add(
                'stamp',
                f'{topic}: dropped an image of the time {stamp_ns(message) / SECOND_NS:g} s; the '
                'driver leaves header.stamp empty: have it fill in the time of the exposure',
            )
            return
        completed = self._pairing.add(index, message)
        if completed is None:
            return
        color, depth = completed
        pair = _Pair(color=color, depth=depth, since=time.monotonic())
        if self._settle(pair):
            return
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append(pair)
            self._timer.reset()
        else:  # not the oldest: where transforms are always late, none would ever get through
            self._problems.add(
                'waiting',
                f'{self._depth.topic}: more than {_MAX_WAITING} frames wait for their transform, '
                'new ones are dropped; have the transforms published sooner, or lower '
                'input.transform_timeout',
            )

    def _retry(self) -> None:
        self._waiting = [pair for pair in self._waiting if not self._settle(pair)]
        if not self._waiting:
            self._timer.cancel()

    def _start_over(self, stamp: int) -> None:
        """React to a jump of the images back to a stamp [ns]."""
        self._transforms.start_over(stamp)
        self._on_time_jump()

    def _settle(self, pair: _Pair) -> bool:
        """Deliver a pair or give it up; False if it is to wait."""
        try:
            return self._deliver(pair)
        except Exception:  # the pair must not be tried for ever
            self._problems.add_exception()
            return True

    def _deliver(self, pair: _Pair) -> bool:
        age = time.monotonic() - pair.since
        may_wait = age < self._parameters.config.input.transform_timeout
        try:
            frame = self._frame(pair, may_wait)
        except TransformUnavailable as err:
            if may_wait:
                return False
            self._problems.add('transform', self._too_late(pair, err, age))
        except CalibrationMissing as err:
            if may_wait:
                return False
            self._problems.add('camera_info', str(err))
        except (FrameError, CalibrationError) as err:
            self._problems.add('image', str(err))
        else:
            self._on_frame(frame, self._fusion_frame or '')
        return True

    def _frame(self, pair: _Pair, may_wait: bool) -> RGBDFrame:
        color_info, depth_info = self._calibrations(pair, may_wait)
        stamp, depth_frame = stamp_ns(pair.depth), pair.depth.header.frame_id.lstrip('/')
        if self._fusion_frame is None:
            self._fusion_frame = self._transforms.fusion_frame(depth_frame, stamp)
        transforms = frame_transforms(
            self._transforms.lookup,
            self._fusion_frame,
            pair.color.header.frame_id,
            depth_frame,
            stamp,
        )
        with _naming(self._color.topic):
            color = color_image(pair.color)
        with _naming(self._depth.topic):
            depth = depth_image(pair.depth)
        with _naming(self._color_info.topic):
            _check(color_info, color)
        with _naming(f'{self._depth.topic} with {self._depth_info.topic}'):
            frame = assemble_frame(color, depth, color_info, depth_info, transforms)
        if self._does_without_depth_info:
            self._problems.add(
                'camera_info',
                f'{self._depth_info.topic}: has a publisher but no camera_info has arrived, so '
                'depth is taken as registered to color; have it publish, or remap '
                'depth/camera_info elsewhere',
            )
        return frame

    def _calibrations(self, pair: _Pair, may_wait: bool) -> tuple[Calibration, Calibration | None]:
        """Return those of colour and depth; the latter is awaited only if somebody publishes it.

        Images of one frame id do without the latter once a pair has waited in vain.

        Raises:
            CalibrationMissing: One has not arrived yet.
        """
        color, depth = self._infos.get('color'), self._infos.get('depth')
        if color is None:
            raise CalibrationMissing(
                f'{self._color_info.topic}: no camera_info has arrived, so images are dropped; '
                "start the camera's calibration, or remap color/camera_info to its topic"
            )
        if depth is not None or not self._depth_info.publisher_types():
            self._does_without_depth_info = False
            return color, depth
        color_frame, depth_frame = (
            image.header.frame_id.lstrip('/') for image in (pair.color, pair.depth)
        )
        gives_up = self._does_without_depth_info or not may_wait
        self._does_without_depth_info = gives_up and color_frame == depth_frame
        if not self._does_without_depth_info:
            raise CalibrationMissing(
                f'{self._depth_info.topic}: has a publisher but no camera_info has arrived, so '
                'images are dropped; have it publish, or remap depth/camera_info elsewhere'
            )
        return color, None

    def _too_late(self, pair: _Pair, err: TransformUnavailable, age: float) -> str:
        stamp = stamp_ns(pair.depth)
        return (
            f'{self._depth.topic}: dropped a frame of {stamp / SECOND_NS:.3f} s after waiting '
            f'{age:.2f} s for its transform: {err}; check that /tf connects the camera with '
            'frames.odom or frames.map, or raise input.transform_timeout'
        )


def image_topic(node: Node, topic: str, transport: str) -> str:
    """Return the full name of a topic of images; all transports follow a remapped raw topic."""
    raw = str(node.resolve_topic_name(topic))
    return raw if transport == 'raw' else f'{raw}/{transport}'


@contextmanager
def _naming(topic: str) -> Iterator[None]:
    """Put the topic in front of the message of an error."""
    try:
        yield
    except (FrameError, CalibrationError) as err:
        raise type(err)(f'{topic}: {err}') from err


def _check(info: Calibration, image: CameraImage) -> None:
    """Refuse a calibration that is not one of this image."""
    height, width = image.pixels.shape[:2]
    camera_from_info(info, width, height)
