"""The tree of frames over time, and transforms between any two of them."""

import math
import threading
from typing import Any

from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from tf2_ros.exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros.frame_history import MovingFrame, Sample, StaticFrame
from tf2_ros.rigid import IDENTITY, Rigid, compose, invert, normalize

QUATERNION_NORMALIZATION_TOLERANCE = 0.01


class BufferCore:
    """Transforms as they were published, and the answers that follow from them.

    Safe to use from several threads.

    Args:
        cache_time: How long samples are kept; None: 10 s.
    """

    def __init__(self, cache_time: Duration | None = None) -> None:
        self._cache_time_ns = cache_time.nanoseconds if cache_time else 10_000_000_000
        self._frames: dict[str, StaticFrame | MovingFrame] = {}
        self._known: set[str] = set()
        self._changed = threading.Condition(threading.RLock())

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a sample of a moving frame; a bad or too old one is logged and ignored."""
        self._set(transform, authority, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Set the place of a frame that does not move; a bad one is logged and ignored."""
        self._set(transform, authority, is_static=True)

    def _set(self, transform: TransformStamped, authority: str, is_static: bool) -> None:
        parent = transform.header.frame_id.removeprefix('/')
        child = transform.child_frame_id.removeprefix('/')
        T_parent_child = _to_rigid(transform)
        fault = _find_fault(parent, child, T_parent_child)
        if fault:
            get_logger('tf2').error(f'{fault}; ignoring transform from authority "{authority}"')
            return
        rigid = Rigid(T_parent_child.translation, normalize(T_parent_child.rotation))
        sample = Sample(_to_ns(transform.header.stamp), parent, rigid)
        with self._changed:
            if not self._store(child, sample, is_static):
                get_logger('tf2').warning(
                    f'TF_OLD_DATA ignoring data from the past for frame {child} at time '
                    f'{sample.stamp_ns / 1e9:.6f} according to authority {authority}'
                )
                return
            self._known.update((parent, child))
            self._changed.notify_all()

    def _store(self, child: str, sample: Sample, is_static: bool) -> bool:
        """Put a sample into the history of its frame; False if it is too old."""
        if is_static:
            self._frames[child] = StaticFrame(sample)
            return True
        frame = self._frames.get(child)
        if not isinstance(frame, MovingFrame):
            frame = self._frames[child] = MovingFrame(self._cache_time_ns)
        return frame.insert(sample)

    def lookup_transform_core(
        self, target_frame: str, source_frame: str, time: Time | TimeMsg
    ) -> TransformStamped:
        """Return the transform that takes source coordinates to target coordinates.

        Args:
            target_frame: Name of the frame to transform to.
            source_frame: Name of the frame to transform from.
            time: When; 0 is the newest time all moving frames between the two have in common.

        Returns:
            The transform; its stamp is the time it holds for, 0 for static frames at time 0.

        Raises:
            InvalidArgumentException: A name is empty or begins with a slash.
            LookupException: A frame is unknown, or the tree has a loop.
            ConnectivityException: The two frames are in different trees.
            ExtrapolationException: A frame in between has no samples around that time.
            TypeError: `time` is not a time.
        """
        time_ns = _to_ns(time)
        with self._changed:
            if target_frame == source_frame:
                return _to_message(target_frame, source_frame, time_ns, IDENTITY)
            self._require(target_frame, 'lookupTransform argument target_frame')
            self._require(source_frame, 'lookupTransform argument source_frame')
            time_ns = time_ns or self._common_time_ns(target_frame, source_frame)
            rigid = self._between(target_frame, source_frame, time_ns)
        return _to_message(target_frame, source_frame, time_ns, rigid)

    def can_transform_core(
        self, target_frame: str, source_frame: str, time: Time | TimeMsg
    ) -> tuple[int, str]:
        """Tell whether `lookup_transform_core` would succeed: (1, '') or (0, why not)."""
        try:
            self.lookup_transform_core(target_frame, source_frame, time)
        except TransformException as err:
            return 0, str(err)
        return 1, ''

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Time:
        """Return the newest time at which the transform is known; 0 between static frames.

        Raises:
            LookupException: A frame is unknown, or the tree has a loop.
            ConnectivityException: The two frames are in different trees.
        """
        with self._changed:
            self._require(target_frame, 'getLatestCommonTime argument target_frame')
            self._require(source_frame, 'getLatestCommonTime argument source_frame')
            return Time(nanoseconds=self._common_time_ns(target_frame, source_frame))

    def clear(self) -> None:
        """Forget where moving frames were; static frames and all names stay known."""
        with self._changed:
            for frame in self._frames.values():
                frame.clear()

    def _require(self, frame: str, argument: str) -> None:
        """Refuse a name that cannot be looked up."""
        if not frame:
            raise InvalidArgumentException(
                f'Invalid argument passed to {argument} in tf2 frame_ids cannot be empty'
            )
        if frame.startswith('/'):
            raise InvalidArgumentException(
                f'Invalid argument "{frame}" passed to {argument} '
                "in tf2 frame_ids cannot start with a '/' like: "
            )
        if frame not in self._known:
            raise LookupException(f'"{frame}" passed to {argument} does not exist. ')

    def _common_time_ns(self, target: str, source: str) -> int:
        """Return the newest time [ns] common to the moving frames between two frames."""
        to_source, to_target = self._paths(target, source, 0)
        newest_ns = [self._frames[frame].newest_ns for frame, _ in to_source + to_target]
        return min((stamp_ns for stamp_ns in newest_ns if stamp_ns is not None), default=0)

    def _between(self, target: str, source: str, time_ns: int) -> Rigid:
        """Return T_target_source at a time."""
        to_source, to_target = self._paths(target, source, time_ns)
        return compose(invert(_chain(to_target)), _chain(to_source))

    def _paths(
        self, target: str, source: str, time_ns: int
    ) -> tuple[list[tuple[str, Sample]], list[tuple[str, Sample]]]:
        """Find the ways from two frames up to the nearest frame above both.

        Returns:
            Steps (frame, where it is in its parent) from the source, and from the target.
        """
        from_source, source_end = self._climb(source, time_ns)
        from_target, target_end = self._climb(target, time_ns)
        depth = {frame: index for index, (frame, _) in enumerate(from_source)}
        depth.setdefault(_top(source, from_source), len(from_source))
        for index, frame in enumerate([*(f for f, _ in from_target), _top(target, from_target)]):
            if frame in depth:
                return from_source[: depth[frame]], from_target[:index]
        cause = source_end or target_end
        if cause is not None:
            raise ExtrapolationException(
                f'{cause}, when looking up transform from frame [{source}] to frame [{target}]'
            )
        raise ConnectivityException(
            f"Could not find a connection between '{target}' and '{source}' because they are "
            'not part of the same tree.Tf has two or more unconnected trees.'
        )

    def _climb(
        self, frame: str, time_ns: int
    ) -> tuple[list[tuple[str, Sample]], ExtrapolationException | None]:
        """Go from a frame up to its root, or to where a frame is not known at that time."""
        steps: dict[str, Sample] = {}
        while frame in self._frames:
            if frame in steps:
                raise LookupException(
                    f'The tf tree is invalid because it contains a loop through frame {frame}.'
                )
            try:
                sample = self._frames[frame].at(time_ns)
            except ExtrapolationException as err:
                return list(steps.items()), err
            if sample is None:
                break
            steps[frame] = sample
            frame = sample.parent
        return list(steps.items()), None


def _top(start: str, steps: list[tuple[str, Sample]]) -> str:
    """Return the frame a climb from `start` ended at."""
    return steps[-1][1].parent if steps else start


def _chain(steps: list[tuple[str, Sample]]) -> Rigid:
    """Join the steps of a climb: from the first frame to the parent of the last."""
    rigid = IDENTITY
    for _, sample in steps:
        rigid = compose(sample.T_parent_frame, rigid)
    return rigid


def _find_fault(parent: str, child: str, rigid: Rigid) -> str:
    """Say why a transform is unusable; empty if it is usable."""
    if not child:
        return 'TF_NO_CHILD_FRAME_ID: child_frame_id not set'
    if not parent:
        return f'TF_NO_FRAME_ID: frame_id not set for child_frame_id "{child}"'
    if child == parent:
        return f'TF_SELF_TRANSFORM: frame_id and child_frame_id "{child}" are the same'
    if any(math.isnan(number) for number in (*rigid.translation, *rigid.rotation)):
        return f'TF_NAN_INPUT: child_frame_id "{child}" has a nan value in the transform'
    square = sum(number * number for number in rigid.rotation)
    if abs(square - 1.0) >= QUATERNION_NORMALIZATION_TOLERANCE:
        return (
            'TF_DENORMALIZED_QUATERNION: child_frame_id '
            f'"{child}" has an invalid quaternion {rigid.rotation}'
        )
    return ''


def _to_ns(time: Any) -> int:
    """Return a rclpy or message time as nanoseconds."""
    if hasattr(time, 'sec') and hasattr(time, 'nanosec'):
        return time.sec * 1_000_000_000 + time.nanosec
    if hasattr(time, 'nanoseconds'):
        return time.nanoseconds
    raise TypeError(f'expected a rclpy or builtin_interfaces Time, got {type(time).__name__}')


def _to_rigid(transform: TransformStamped) -> Rigid:
    v, q = transform.transform.translation, transform.transform.rotation
    return Rigid((v.x, v.y, v.z), (q.x, q.y, q.z, q.w))


def _to_message(target: str, source: str, time_ns: int, rigid: Rigid) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id = target
    message.header.stamp = Time(nanoseconds=time_ns).to_msg()
    message.child_frame_id = source
    v, q = message.transform.translation, message.transform.rotation
    v.x, v.y, v.z = rigid.translation
    q.x, q.y, q.z, q.w = rigid.rotation
    return message
