"""What the replay can play: recordings, and rooms made from a seed."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import ConfigError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.io.closing import Closing
from concerto_ros.io.frame_source import FrameSource, open_source
from concerto_ros.rooms.room import SyntheticRoom

_ROOMS = 'rooms:'
_ROOM_FRAMES = 60
_ROOM_CAMERA = PinholeCamera(width=480, height=360, fx=394.0, fy=394.0, cx=239.5, cy=179.5)


def open_recording(name: str, up: str = 'auto', num_frames: int = 0) -> FrameSource:
    """Open what a replay is to play.

    Args:
        name: 'rooms:SEED' or a path, see `open_source`.
        up: Of a path, see `parse_leveling`; rooms are upright.
        num_frames: Frames of a path to play from its start; the length of the walk through a
            room. 0: all of them, or a walk of 60.

    Raises:
        SourceError: The recording is unusable.
        ConfigError: The name is empty, the seed no number, or `up` malformed.
    """
    if not name:
        raise ConfigError(
            'no recording to play: set the parameter "source" to a bag, a folder of frames, or '
            f'{_ROOMS}SEED (-p source:=PATH)'
        )
    if not name.startswith(_ROOMS):
        keep = (lambda index: index < num_frames) if num_frames else None
        return open_source(name, up=up, keep=keep)
    seed = name.removeprefix(_ROOMS)
    if not seed.isdecimal():
        raise ConfigError(f'expected {_ROOMS}SEED with a whole number from 0, got {name!r}')
    return RoomSource(int(seed), num_frames or _ROOM_FRAMES)


class RoomSource(Closing):
    """A walk through a synthetic room as a recording; see `FrameSource`.

    Args:
        seed: Of the room.
        num_frames: Length of the walk.
        camera: Of colour and depth.
    """

    frame_id = 'map'

    def __init__(self, seed: int, num_frames: int, camera: PinholeCamera = _ROOM_CAMERA) -> None:
        self.dropped: Counter[str] = Counter()
        self.room = SyntheticRoom(seed)
        self.description = f'synthetic room {seed} ({self.room.kind})'
        self._frames = self.room.frames(num_frames, camera)

    @property
    def num_frames_hint(self) -> int | None:
        """Number of frames."""
        return len(self._frames)

    @property
    def T_map_fusion(self) -> NDArray[np.float64]:
        """The identity: poses are in the map."""
        return np.eye(4)

    def __iter__(self) -> Iterator[RGBDFrame]:
        """Yield the frames; the next is rendered while the caller works on one."""
        with ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(self._frames.__getitem__, 0)
            for index in range(1, len(self._frames)):
                frame, upcoming = (
                    upcoming.result(),
                    pool.submit(self._frames.__getitem__, index),
                )
                yield frame
            yield upcoming.result()
