"""What is known about where one frame has been."""

import bisect
from typing import NamedTuple

from tf2_ros.exceptions import ExtrapolationException
from tf2_ros.rigid import Rigid, interpolate


class Sample(NamedTuple):
    """Where a frame was, at one time.

    Attributes:
        stamp_ns: When; meaningless for a static frame.
        parent: Name of the frame it is given in.
        T_parent_frame: From its own coordinates to those of the parent.
    """

    stamp_ns: int
    parent: str
    T_parent_frame: Rigid


def seconds(time_ns: int) -> str:
    """Write a time as tf2 does in its messages."""
    return f'{time_ns / 1e9:.6f}'


class StaticFrame:
    """A frame that never moves: valid at all times."""

    newest_ns: int | None = None  # limits no lookup in time

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def at(self, time_ns: int) -> Sample:
        """Return the place, whatever the time."""
        return self._sample

    def clear(self) -> None:
        """Keep the place: it is as true after a jump of time as before."""


class MovingFrame:
    """A frame with samples in time, between which it is interpolated.

    Args:
        cache_time_ns: Samples older than the newest by more than this are forgotten.
    """

    def __init__(self, cache_time_ns: int) -> None:
        self._cache_time_ns = cache_time_ns
        self._stamps_ns: list[int] = []
        self._samples: list[Sample] = []

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest sample; 0 without any."""
        return self._stamps_ns[-1] if self._stamps_ns else 0

    def insert(self, sample: Sample) -> bool:
        """Add a sample; a second one at the same stamp replaces the first.

        Returns:
            False if it is too old and was ignored.
        """
        if self._stamps_ns and sample.stamp_ns < self._stamps_ns[-1] - self._cache_time_ns:
            return False
        index = bisect.bisect_left(self._stamps_ns, sample.stamp_ns)
        same = index < len(self._stamps_ns) and self._stamps_ns[index] == sample.stamp_ns
        self._stamps_ns[index : index + same] = [sample.stamp_ns]
        self._samples[index : index + same] = [sample]
        oldest = bisect.bisect_left(self._stamps_ns, self._stamps_ns[-1] - self._cache_time_ns)
        del self._stamps_ns[:oldest], self._samples[:oldest]
        return True

    def at(self, time_ns: int) -> Sample | None:
        """Return where the frame was; between samples under different parents, the older one.

        Args:
            time_ns: The time; 0 means the newest sample.

        Returns:
            The interpolated sample; None without samples.

        Raises:
            ExtrapolationException: The time lies outside the samples.
        """
        if not self._samples:
            return None
        if time_ns == 0:
            return self._samples[-1]
        index = bisect.bisect_left(self._stamps_ns, time_ns)
        if index < len(self._stamps_ns) and self._stamps_ns[index] == time_ns:
            return self._samples[index]
        if index in (0, len(self._stamps_ns)):
            raise ExtrapolationException(self._outside(time_ns))
        before, after = self._samples[index - 1], self._samples[index]
        if before.parent != after.parent:
            return before
        ratio = (time_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
        moved = interpolate(before.T_parent_frame, after.T_parent_frame, ratio)
        return Sample(time_ns, before.parent, moved)

    def _outside(self, time_ns: int) -> str:
        """Word the message for a time outside the samples."""
        oldest_ns, newest_ns = self._stamps_ns[0], self._stamps_ns[-1]
        if len(self._stamps_ns) == 1:
            return (
                f'Lookup would require extrapolation at time {seconds(time_ns)}, '
                f'but only time {seconds(newest_ns)} is in the buffer'
            )
        if time_ns > newest_ns:
            return (
                'Lookup would require extrapolation into the future.  Requested time '
                f'{seconds(time_ns)} but the latest data is at time {seconds(newest_ns)}'
            )
        return (
            'Lookup would require extrapolation into the past.  Requested time '
            f'{seconds(time_ns)} but the earliest data is at time {seconds(oldest_ns)}'
        )

    def clear(self) -> None:
        """Forget all samples."""
        self._stamps_ns.clear()
        self._samples.clear()
