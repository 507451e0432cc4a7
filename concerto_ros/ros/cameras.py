"""All cameras of a node: each for itself, but for the frame of the fusion and jumps of time."""

import re
from collections.abc import Callable, Iterator
from functools import partial

from rclpy.node import Node

from concerto_ros.errors import ConfigError
from concerto_ros.ros.camera_input import CameraInput, FramedImage
from concerto_ros.ros.fusion_frame import FusionFrame
from concerto_ros.ros.parameters import NodeParameters
from concerto_ros.ros.problems import Problems
from concerto_ros.ros.time_jumps import TimeJumps
from concerto_ros.ros.transforms import Transforms

_NAME = re.compile(r'/?[A-Za-z]\w*(/[A-Za-z]\w*)*', re.ASCII)  # what may begin a topic


class Cameras:
    """The cameras that `input.cameras` names; one without a name if it names none.

    Args:
        node: The node that subscribes.
        parameters: Its parameters.
        transforms: Where the cameras are.
        problems: Where to report, each camera for itself.
        on_frame: Called with each frame on the executor's thread: it must return at once.
        on_time_jump: Called when the stamps of the images have jumped back.

    Raises:
        ConfigError: `input.cameras` is no list of different names.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        transforms: Transforms,
        problems: Problems,
        on_frame: Callable[[FramedImage], None],
        on_time_jump: Callable[[], None],
    ) -> None:
        self._transforms = transforms
        self._problems = problems
        self._on_time_jump = on_time_jump
        self._fusion_frame = FusionFrame(transforms)
        self._time_jumps = TimeJumps(self._num_pairs, self._start_over)
        self._cameras = [
            CameraInput(
                node,
                parameters,
                self._fusion_frame,
                problems.of(name),
                on_frame,
                partial(self._take_jump, name),
                name,
            )
            for name in camera_names(parameters.config.input.cameras)
        ]
        transforms.before_clear(self._retry)

    def __iter__(self) -> Iterator[CameraInput]:
        return iter(self._cameras)

    def forget_fusion_frame(self) -> None:
        """Choose the frame in which to fuse anew, with the next frame."""
        self._fusion_frame.forget()

    def _num_pairs(self) -> dict[str, int]:
        return {camera.name: camera.num_pairs for camera in self._cameras}

    def _take_jump(self, name: str, stamp: int) -> None:
        if not self._time_jumps.add(name, stamp):
            topic = next(camera.topic for camera in self._cameras if camera.name == name)
            self._problems.of(name).add(
                'clock',
                f'{topic}: stamps jump back while those of other cameras go on; '
                'synchronise the clock of this camera with theirs',
            )

    def _start_over(self, stamp: int) -> None:
        """React to a jump of the images back to a stamp [ns]."""
        self._transforms.start_over(stamp)
        self._on_time_jump()

    def _retry(self) -> None:
        for camera in self._cameras:
            camera.retry()


def camera_names(text: str) -> list[str]:
    """Return the names of `input.cameras`, one empty name if there are none.

    Raises:
        ConfigError: One cannot begin the name of a topic, or stands there twice.
    """
    names = [name.strip() for name in text.split(',') if name.strip()]
    for name in names:
        if not _NAME.fullmatch(name) or '__' in name:
            raise ConfigError(
                f'parameter "input.cameras" names {name!r}, which cannot begin the name of a '
                'topic; use letters, digits, single underscores and slashes, such as front,rear'
            )
    if len(set(names)) < len(names):
        raise ConfigError(f'parameter "input.cameras" is "{text}"; name each camera once')
    return names or ['']
