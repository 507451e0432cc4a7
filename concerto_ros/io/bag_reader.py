"""BagReader: a bag of an RGB-D camera with /tf -> RGBDFrame."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concerto_ros.config.schema import FramesConfig
from concerto_ros.errors import CalibrationError, FrameError, SourceError, TransformUnavailable
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.geometry.transforms import invert
from concerto_ros.io.bag_messages import BagMessages
from concerto_ros.io.bag_topics import TF_TYPES, TopicNames, choose_topics
from concerto_ros.io.calibration import Calibration, distortion_shift, stereo_warning
from concerto_ros.io.closing import Closing
from concerto_ros.io.frame_assembly import CameraImage, assemble_frame, frame_transforms
from concerto_ros.io.images import (
    decode_color,
    decode_compressed_color,
    decode_compressed_depth,
    decode_depth,
)
from concerto_ros.io.leveling import parse_leveling
from concerto_ros.io.pairing import ApproximatePairing
from concerto_ros.io.transform_history import TransformHistory

_LOG = logging.getLogger(__name__)

_CLOCK_JUMP_NS = 1_000_000_000  # a stamp this much older than the newest means a reset clock
_MAX_DISTORTION_PX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingOptions:
    """How images are matched; the defaults are those of the node.

    Attributes:
        queue_size: Messages kept per topic.
        slop: Upper limit of the spread of stamps in a set, not reached [s].
    """

    queue_size: int = 10
    slop: float = 0.05


class BagReader(Closing):
    """Frames of a bag; the same sets of messages as the node makes of it, in order of time.

    The bag is read once for its transforms when it is opened, so late ones are no problem.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        topics: TopicNames = TopicNames(),  # noqa: B008 - frozen
        frames: FramesConfig = FramesConfig(),  # noqa: B008 - frozen
        up: str = 'auto',
        pairing: PairingOptions = PairingOptions(),
        keep: Callable[[int], bool] | None = None,
    ) -> None:
        """Open the bag, choose topics and read all transforms.

        Args:
            path: A rosbag2 folder, .mcap, .db3 or ROS 1 .bag file.
            topics: Those to read; empty names are chosen.
            frames: Frames to fuse in: odom, else map, else the root of the tree.
            up: See `parse_leveling`; 'auto' is none.
            pairing: How images are matched.
            keep: Which frames to deliver, by index of the matched set; None is all.

        Raises:
            SourceError: The bag cannot be read, or has no such topics, images or transforms.
            ConfigError: `up` is malformed.
        """
        self.dropped: Counter[str] = Counter()
        self._pairing = pairing
        self._keep = keep
        self._T_level_fusion = parse_leveling(up)
        self._messages = BagMessages(Path(path))
        try:
            self.topics = choose_topics(self._messages.topics, topics)
            self._transforms = self._read_transforms()
            self._camera_frame = self._first(self.topics.depth).header.frame_id.lstrip('/')
            self._depth_info = self._read_depth_info()
            self._warn_of_lens()
            self._map_frame = frames.map
            self.frame_id = _fusion_frame(self._transforms, self._camera_frame, frames)
        except BaseException:
            self.close()
            raise
        self.description = f'bag {path} ({self.topics.color}, {self.topics.depth})'

    @property
    def num_frames_hint(self) -> int | None:
        """Upper limit of the number of frames."""
        counts = self._messages.counts
        num_sets = min(counts[self.topics.color], counts[self.topics.depth])
        return num_sets if self._keep is None else sum(map(self._keep, range(num_sets)))

    @property
    def T_map_fusion(self) -> NDArray[np.float64]:
        """Newest transform (4, 4) from `frame_id` to map, both levelled; identity without map."""
        transforms, map_frame = self._transforms, self._map_frame
        if not (transforms.has_frame(map_frame) and transforms.connects(map_frame, self.frame_id)):
            return np.eye(4)
        T_level = self._T_level_fusion
        return T_level @ transforms.latest(map_frame, self.frame_id) @ invert(T_level)

    def close(self) -> None:
        """Close the files."""
        self._messages.close()

    def __iter__(self) -> Iterator[RGBDFrame]:
        """Yield the frames from the beginning; what is left out is counted in `dropped`."""
        self.dropped.clear()
        newest_ns = -1
        for color, depth, info in self._kept_sets():
            try:
                frame = self._frame(color, depth, info)
            except TransformUnavailable as err:
                _LOG.debug('%s', err)
                self.dropped[
                    f'no transform from {self._camera_frame!r} to {self.frame_id!r} at the stamp '
                    'of the image'
                ] += 1
            except (FrameError, CalibrationError) as err:
                self.dropped[str(err)] += 1
            else:
                if frame.stamp_ns <= newest_ns:
                    self.dropped[
                        'stamp is not newer than the frame before (clock reset, or looped bag)'
                    ] += 1
                    continue
                newest_ns = frame.stamp_ns
                yield frame
        if self._messages.damage:
            self.dropped[self._messages.damage] = 1

    def _kept_sets(self) -> Iterator[tuple[Any, ...]]:
        for index, messages in enumerate(self._sets()):
            if self._keep is None or self._keep(index):
                yield messages

    def _sets(self) -> Iterator[tuple[Any, ...]]:
        """Yield matched messages of colour, depth and camera_info, in recorded order."""
        inputs = {
            topic: i
            for i, topic in enumerate(
                (self.topics.color, self.topics.depth, self.topics.camera_info)
            )
        }
        pairing = ApproximatePairing(3, self._pairing.queue_size, self._pairing.slop)
        newest_ns = num_depth = num_sets = 0
        for topic, message in self._messages.read(inputs):
            if message is None:
                self.dropped[f'a message on {topic} is damaged'] += 1
                continue
            stamp_ns = _stamp_ns(message)
            if stamp_ns < newest_ns - _CLOCK_JUMP_NS:
                pairing.clear()
                newest_ns = stamp_ns
            newest_ns = max(newest_ns, stamp_ns)
            num_depth += topic == self.topics.depth
            matched = pairing.add(inputs[topic], stamp_ns, message)
            if matched is not None:
                num_sets += 1
                yield matched
        if num_depth > num_sets:
            self.dropped[
                f'no color image and camera_info within {self._pairing.slop:g} s of a depth image'
            ] += num_depth - num_sets

    def _frame(self, color: Any, depth: Any, info: Any) -> RGBDFrame:
        transforms = frame_transforms(
            self._lookup,
            self.frame_id,
            color.header.frame_id,
            depth.header.frame_id,
            _stamp_ns(depth),
        )
        return assemble_frame(
            _camera_image(color, decode_color, decode_compressed_color),
            _camera_image(depth, decode_depth, decode_compressed_depth),
            _calibration(info),
            self._depth_info,
            transforms,
        )

    def _lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        T_target_source = self._transforms.lookup(target, source, stamp_ns)
        return (
            self._T_level_fusion @ T_target_source if target == self.frame_id else T_target_source
        )

    def _read_transforms(self) -> TransformHistory:
        """Read all of /tf and /tf_static."""
        transforms = TransformHistory()
        names = [name for name, t in self._messages.topics.items() if t in TF_TYPES]
        num_ignored = 0
        for topic, message in self._messages.read(names):
            is_static = topic.endswith('tf_static')
            for sample in message.transforms if message is not None else ():
                num_ignored += not _insert(transforms, sample, is_static)
        if num_ignored:
            _LOG.warning('%d malformed transforms in the bag are ignored', num_ignored)
        if not transforms.frame_names():
            raise SourceError(
                'the bag has no transforms, so the camera has no pose: record /tf and /tf_static '
                f'too; its topics are {", ".join(sorted(self._messages.topics))}'
            )
        return transforms

    def _read_depth_info(self) -> Calibration | None:
        topic = self.topics.depth_camera_info
        return _calibration(self._first(topic)) if topic else None

    def _warn_of_lens(self) -> None:
        color_info = _calibration(self._first(self.topics.camera_info))
        if sentence := stereo_warning(color_info):
            _LOG.warning('%s: %s', self.topics.camera_info, sentence)
        if self._depth_info is not None and (sentence := stereo_warning(self._depth_info)):
            _LOG.warning('%s: %s', self.topics.depth_camera_info, sentence)
        shift = distortion_shift(color_info)
        if shift > _MAX_DISTORTION_PX and 'rect' not in self.topics.color:
            _LOG.warning(
                'the lens moves the border of %s by %.0f px, but images are taken as rectified; '
                'record rectified images for accurate maps', self.topics.color, shift,
            )  # fmt: skip

    def _first(self, topic: str) -> Any:
        """Return the first readable message of a topic."""
        for _, message in self._messages.read([topic]):
            if message is not None:
                return message
        raise SourceError(f'topic {topic!r} has no readable message; name another one')


def _fusion_frame(transforms: TransformHistory, camera_frame: str, frames: FramesConfig) -> str:
    """Return the frame to fuse in, which is connected to the camera."""
    names = ', '.join(transforms.frame_names())
    if not transforms.has_frame(camera_frame):
        raise SourceError(
            f'no transform places the camera frame {camera_frame!r}; /tf and /tf_static have '
            f'{names}'
        )
    for name in (frames.odom, frames.map):
        if transforms.has_frame(name) and transforms.connects(name, camera_frame):
            return name
    root = transforms.root(camera_frame)
    _LOG.warning(
        'neither frames.odom (%r) nor frames.map (%r) places the camera, so its root frame %r is '
        'taken; set frames.map to the frame that is meant, of %s',
        frames.odom, frames.map, root, names,
    )  # fmt: skip
    if not transforms.moves(root, camera_frame):
        _LOG.warning('no transform between %r and %r ever changes', root, camera_frame)
    return root


def _insert(transforms: TransformHistory, sample: Any, is_static: bool) -> bool:
    t, q = sample.transform.translation, sample.transform.rotation
    return transforms.insert(
        sample.header.frame_id,
        sample.child_frame_id,
        _stamp_ns(sample),
        (t.x, t.y, t.z),
        (q.x, q.y, q.z, q.w),
        is_static,
    )


def _camera_image(
    message: Any, decode: Callable[..., NDArray], decode_compressed: Callable[..., NDArray]
) -> CameraImage:
    if hasattr(message, 'format'):
        pixels = decode_compressed(message.format, message.data)
    else:
        pixels = decode(
            message.encoding, message.height, message.width, message.step,
            bool(message.is_bigendian), message.data,
        )  # fmt: skip
    return CameraImage(
        stamp_ns=_stamp_ns(message), frame_id=message.header.frame_id, pixels=pixels
    )


def _calibration(message: Any) -> Calibration:
    def field(name: str) -> Any:  # ROS 1 writes K, D and P
        return getattr(message, name) if hasattr(message, name) else getattr(message, name.upper())

    return Calibration(
        width=message.width, height=message.height, k=field('k'), p=field('p'), d=field('d'),
        distortion_model=message.distortion_model,
        binning=(message.binning_x, message.binning_y),
        roi=(message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height),
    )  # fmt: skip


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
