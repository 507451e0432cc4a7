"""A tree of frames over time, with the answers of tf2 but without its time limit."""

from array import array
from bisect import bisect_left

import numpy as np
from numpy.typing import ArrayLike, NDArray

from concerto_ros.errors import TransformUnavailable
from concerto_ros.geometry.transforms import from_quaternion, invert, slerp

Matrix = NDArray[np.float64]

_NORM_TOLERANCE = 0.01  # of the squared length of a quaternion, as in tf2


class TransformHistory:
    """Time-stamped transforms between named frames; each frame has one parent at a time.

    Between two samples positions are interpolated linearly and rotations by slerp; outside of
    them there is no answer, never an extrapolation. Static transforms hold at all times.
    """

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}
        self._frames: set[str] = set()

    def insert(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: ArrayLike,
        quaternion: ArrayLike,
        static: bool = False,
    ) -> bool:
        """Add one sample of T_parent_child; whether a child is static its first sample decides.

        Args:
            parent: Name; a leading '/' is ignored.
            child: Name; a leading '/' is ignored.
            stamp_ns: Time of the sample [ns]; the same stamp replaces.
            translation: (3,) [m].
            quaternion: (4,) x y z w, of length 1 within 0.5 %.
            static: Holds at all times.

        Returns:
            Whether it was taken; like tf2, samples with a wrong quaternion, with values that are
            not finite, or with empty or equal names are not.
        """
        parent, child = parent.lstrip('/'), child.lstrip('/')
        values = np.concatenate([translation, quaternion]).astype(np.float64)
        usable = bool(np.isfinite(values).all()) and (
            abs(values[3:] @ values[3:] - 1.0) < _NORM_TOLERANCE
        )
        if not (usable and parent and child and parent != child):
            return False
        self._links.setdefault(child, _Link(static)).insert(stamp_ns, parent, values)
        self._frames.update((parent, child))
        return True

    def lookup(self, target: str, source: str, stamp_ns: int) -> Matrix:
        """Return T_target_source (4, 4) at a stamp [ns]; the identity if the names are equal.

        Raises:
            TransformUnavailable: A frame is unknown, the frames are not connected, or the stamp
                lies outside of what is known; the message says which.
        """
        if target == source:
            return np.eye(4)
        from_source, source_gap = self._climb(source, stamp_ns)
        from_target, target_gap = self._climb(target, stamp_ns)
        for frame, T_frame_target in from_target.items():
            if frame in from_source:
                return invert(T_frame_target) @ from_source[frame]
        gaps = dict.fromkeys(gap for gap in (source_gap, target_gap) if gap)
        raise TransformUnavailable(
            f'no transform from {source!r} to {target!r} at {_seconds(stamp_ns)}: '
            + self._why_apart(target, source, '; '.join(gaps))
        )

    def latest(self, target: str, source: str) -> Matrix:
        """Return T_target_source (4, 4) at the newest stamp common to the links between them.

        Raises:
            TransformUnavailable: As `lookup`.
        """
        from_source, from_target = self._ancestors(source), self._ancestors(target)
        common = next((frame for frame in from_target if frame in from_source), None)
        path = [
            frame
            for chain in (from_source, from_target)
            for frame in chain[: chain.index(common) if common in chain else 0]
        ]
        newest = [self._links[f].stamps[-1] for f in path if not self._links[f].static]
        return self.lookup(target, source, min(newest, default=0))

    def has_frame(self, name: str) -> bool:
        """Tell whether any sample names this frame."""
        return name in self._frames

    def connects(self, a: str, b: str) -> bool:
        """Tell whether two frames are in one tree, whatever the time."""
        return not set(self._ancestors(a)).isdisjoint(self._ancestors(b))

    def root(self, frame: str) -> str:
        """Return the topmost ancestor of a frame; the frame itself if it has no parent."""
        return self._ancestors(frame)[-1]

    def moves(self, target: str, source: str) -> bool:
        """Tell whether any link between a frame and its ancestor `target` is not static."""
        chain = self._ancestors(source)
        path = chain[: chain.index(target)] if target in chain else chain[:-1]
        return any(not self._links[frame].static for frame in path)

    def frame_names(self) -> list[str]:
        """Return the names of all frames, sorted."""
        return sorted(self._frames)

    def _climb(self, frame: str, stamp_ns: int) -> tuple[dict[str, Matrix], str]:
        """Return T_ancestor_frame of the ancestors at the stamp, nearest first, and why it ends.

        The reason is empty where the chain ends at a frame that never has a parent.
        """
        T = np.eye(4)
        chain = {frame: T}
        while (link := self._links.get(frame)) is not None:
            found = link.at(stamp_ns)
            if found is None:
                return chain, f'{frame!r} is placed only {link.describe_span()}'
            frame, T_parent_child = found
            if frame in chain:
                return chain, f'the parents of {frame!r} form a loop'
            T = T_parent_child @ T
            chain[frame] = T
        return chain, ''

    def _ancestors(self, frame: str) -> list[str]:
        """Return the frame and its ancestors by the newest samples, nearest first."""
        chain = [frame]
        while (link := self._links.get(chain[-1])) is not None:
            if link.parents[-1] in chain:
                break
            chain.append(link.parents[-1])
        return chain

    def _why_apart(self, target: str, source: str, gaps: str) -> str:
        unknown = [name for name in (target, source) if name not in self._frames]
        if unknown:
            names = ', '.join(self.frame_names()) or 'none'
            return f'{" and ".join(map(repr, unknown))} never occurs; frames are {names}'
        return gaps or (
            f'they are in two trees, below {self.root(target)!r} and {self.root(source)!r}; '
            'publish what connects these'
        )


class _Link:
    """The parents of one frame over time: stamps ascending, 7 numbers per sample."""

    __slots__ = ('parents', 'stamps', 'static', 'values')

    def __init__(self, static: bool) -> None:
        self.static = static
        self.stamps = array('q')
        self.parents: list[str] = []
        self.values = array('d')

    def insert(self, stamp_ns: int, parent: str, values: Matrix) -> None:
        row = array('d', values)
        i = 0 if self.static else bisect_left(self.stamps, stamp_ns)
        end = i + 1 if self.static or (i < len(self.stamps) and self.stamps[i] == stamp_ns) else i
        self.stamps[i:end] = array('q', [stamp_ns])
        self.parents[i:end] = [parent]
        self.values[7 * i : 7 * end] = row

    def at(self, stamp_ns: int) -> tuple[str, Matrix] | None:
        """Return the parent and T_parent_child at a stamp; None outside of the samples."""
        i = 0 if self.static else bisect_left(self.stamps, stamp_ns)
        if self.static or (i < len(self.stamps) and self.stamps[i] == stamp_ns):
            return self.parents[i], self._matrix(i)
        if i in (0, len(self.stamps)):
            return None
        before, after = i - 1, i
        if self.parents[before] != self.parents[after]:
            return self.parents[before], self._matrix(before)
        fraction = (stamp_ns - self.stamps[before]) / (self.stamps[after] - self.stamps[before])
        a, b = self._row(before), self._row(after)
        translation = a[:3] + fraction * (b[:3] - a[:3])
        return self.parents[before], from_quaternion(translation, slerp(a[3:], b[3:], fraction))

    def describe_span(self) -> str:
        first, last = _seconds(self.stamps[0]), _seconds(self.stamps[-1])
        return f'at {first}' if len(self.stamps) == 1 else f'from {first} to {last}'

    def _row(self, i: int) -> Matrix:
        return np.array(self.values[7 * i : 7 * i + 7])

    def _matrix(self, i: int) -> Matrix:
        row = self._row(i)
        return from_quaternion(row[:3], row[3:])


def _seconds(stamp_ns: int) -> str:
    return f'{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000 // 1_000_000:03d} s'
