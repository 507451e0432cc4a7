"""Tour: the recording of a camera that visits one room after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.rooms.frames import START_NS, FrameTruth, RoomFrames
from concerto_ros.rooms.primitives import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One stay in a room.

    Attributes:
        place: Index into `Building.places`.
        round: Which round of the tour, from 0.
        walk: What the camera does there, in the room's frame.
        noise_seed: Draws the noise of this visit.
        T_building_room: (4, 4) float64.
    """

    place: int
    round: int
    walk: RoomFrames
    noise_seed: int
    T_building_room: Array


class Tour:
    """Visits one after another, a frame source of known length; frames are made when asked for.

    Attributes:
        poses: (N, 4, 4) float64, true `T_building_depth` of each frame.
        place: (N,) int64, where each frame was taken, index into `Building.places`.
        round: (N,) int64, in which round, from 0.

    Args:
        visits: At least one.
        frames_per_second: By the stamps.
    """

    def __init__(self, visits: Sequence[Visit], frames_per_second: float) -> None:
        lengths = [len(visit.walk) for visit in visits]
        self.poses: Array = np.concatenate(
            [visit.T_building_room @ visit.walk.poses for visit in visits]
        )
        self.place: NDArray[np.int64] = np.repeat([visit.place for visit in visits], lengths)
        self.round: NDArray[np.int64] = np.repeat([visit.round for visit in visits], lengths)
        self._visits = visits
        self._starts = np.cumsum([0, *lengths])
        self._period_ns = round(1e9 / frames_per_second)
        self._open: tuple[int, RoomFrames] | None = None

    def __len__(self) -> int:
        return len(self.poses)

    def __iter__(self) -> Iterator[RGBDFrame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> RGBDFrame:
        frames, number = self._find(index)
        return replace(
            frames[number],
            stamp_ns=START_NS + index * self._period_ns,
            T_map_depth=self.poses[index],
        )

    def frame_truth(self, index: int) -> FrameTruth:
        """Return labels, instances (ids of the room) and exact depth of one frame.

        Raises:
            IndexError: There is no such frame.
        """
        frames, number = self._find(index)
        return frames.frame_truth(number)

    def _find(self, index: int) -> tuple[RoomFrames, int]:
        if not 0 <= index < len(self):
            raise IndexError(f'frame {index} of a tour of {len(self)} frames')
        visit = int(np.searchsorted(self._starts, index, side='right')) - 1
        if self._open is None or self._open[0] != visit:
            known = self._visits[visit]
            self._open = visit, known.walk.retaken(known.noise_seed)
        return self._open[1], index - int(self._starts[visit])
