"""From the topics of an RGB-D camera and /tf to RGBDFrame."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from concerto_ros.ros.fusion_frame import FusionFrame
from concerto_ros.ros.image_pairing import ImagePairing
from concerto_ros.ros.parameters import NodeParameters
from concerto_ros.ros.problems import Reporter
from concerto_ros.ros.silence import SilenceWatch

_MAX_WAITING = 32  # frames; one second of a camera
_RETRY_PERIOD = 0.02  # seconds


class FramedImage(NamedTuple):
    """A frame on its way into the map.

    Attributes:
        frame: Images, calibrations and poses.
        fusion_frame: Name of the frame in which it is to be fused.
        camera: Name of its camera; empty where there is only one.
        depth_frame: Name of the frame of the depth camera.
        depth_topic: Where its depth came from, for people.
    """

    frame: RGBDFrame
    fusion_frame: str
    camera: str
    depth_frame: str
    depth_topic: str


@dataclass(slots=True, kw_only=True)
class _Pair:
    """Two images that belong together, since when they wait (monotonic, s), and for what."""

    color: Any
    depth: Any
    since: float


class CalibrationMissing(Exception):  # noqa: N818 - a state of the world
    """No camera_info has arrived yet."""


class CameraInput:
    """Subscribes to one camera; delivers frames, counts and reports what cannot become one.

    Colour and depth are paired by approximate time. The newest camera_info of each stream is
    taken whatever its stamp, as many drivers publish it rarely. A pair waits for its transform
    (and for the first camera_info) up to `input.transform_timeout`, without holding up others.

    Args:
        node: The node that subscribes.
        parameters: Its parameters.
        fusion_frame: Where its frames are fused; shared with other cameras.
        problems: Where to report.
        on_frame: Called with each frame on the executor's thread: it must return at once.
        on_time_jump: Called with the new stamp [ns] when those of the images have jumped back.
        name: Of the camera, in front of its topics; empty: they have no prefix.

    Attributes:
        name: As above.
        newest: When the newest frame was delivered (monotonic, s); None: there was none.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        fusion_frame: FusionFrame,
        problems: Reporter,
        on_frame: Callable[[FramedImage], None],
        on_time_jump: Callable[[int], None],
        name: str = '',
    ) -> None:
        self.name = name
        self.newest: float | None = None
        self._parameters = parameters
        self._problems = problems
        self._on_frame = on_frame
        self._fusion_frame = fusion_frame
        self._infos: dict[str, Calibration] = {}
        self._does_without_depth_info = False
        self._waiting: list[_Pair] = []
        config = parameters.config.input
        self._pairing = ImagePairing(2, config.queue_size, config.slop, on_time_jump)
        self._subscribe(node)
        self._timer = node.create_timer(
            _RETRY_PERIOD,
            problems.guarded(self.retry),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._timer.cancel()
        self._silence = SilenceWatch(
            parameters, problems, (self._color, self._depth), self._color_info, self._pairing
        )

    @property
    def topic(self) -> str:
        """Of its colour images, for people."""
        return self._color.topic

    @property
    def num_pairs(self) -> int:
        """Pairs of images so far."""
        return self._pairing.num_pairs

    def why_silent(self) -> str:
        """Return cause and cure of there being no pairs of images; empty if none is known."""
        return self._silence.reason

    def retry(self) -> None:
        """Deliver or give up what waits for transforms, as far as can be said now."""
        self._waiting = [pair for pair in self._waiting if not self._settle(pair)]
        if not self._waiting:
            self._timer.cancel()

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

        def info(kind: str) -> AdaptiveSubscription:
            topic = f'{prefix}{kind}/camera_info'
            return stream(CameraInfo, topic, lambda message: self._take_info(kind, message))

        config = self._parameters.config.input
        prefix = f'{self.name}/' if self.name else ''
        self._color = images(f'{prefix}color/image', config.color_transport, 0)
        self._depth = images(f'{prefix}depth/image', config.depth_transport, 1)
        self._color_info, self._depth_info = info('color'), info('depth')

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
            framed = self._framed(pair, may_wait)
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
            self.newest = time.monotonic()
            self._on_frame(framed)
        return True

    def _framed(self, pair: _Pair, may_wait: bool) -> FramedImage:
        color_info, depth_info = self._calibrations(pair, may_wait)
        stamp, depth_frame = stamp_ns(pair.depth), pair.depth.header.frame_id.lstrip('/')
        fusion_frame = self._fusion_frame.choose(depth_frame, stamp)
        transforms = frame_transforms(
            self._fusion_frame.transforms.lookup,
            fusion_frame,
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
                'depth_info',
                f'{self._depth_info.topic}: has a publisher but no camera_info has arrived, so '
                'depth is taken as registered to color; have it publish, or remap '
                'depth/camera_info elsewhere',
            )
        return FramedImage(frame, fusion_frame, self.name, depth_frame, self._depth.topic)

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
