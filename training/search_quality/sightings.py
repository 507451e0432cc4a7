"""How much of each object of a room the camera measured."""

import numpy as np
from numpy.typing import NDArray

from concerto_ros.config.schema import DepthConfig
from concerto_ros.geometry.frame import RGBDFrame
from concerto_ros.rooms.frames import FrameTruth

_CELL = 0.02  # [m]
_NEAR = 0.05  # of the measured to the exact depth [m]
_STRIDE = 2  # every second pixel in both directions
_BITS = 15  # of a cell along an axis: 655 m
_DEPTH = DepthConfig()


class Sightings:
    """Counts cells of 2 cm on each object in which its surface was measured.

    Only truth and measured depth count, no setting of the map or the search, so the questions
    about a room stay the same whatever is measured.
    """

    def __init__(self) -> None:
        self._keys: list[NDArray[np.int64]] = []

    def add(self, frame: RGBDFrame, truth: FrameTruth) -> None:
        """Take in one frame and what it really shows."""
        pixels = np.s_[::_STRIDE, ::_STRIDE]
        depth, exact = frame.depth[pixels], truth.depth[pixels]
        is_measured = (depth >= _DEPTH.min) & (depth <= _DEPTH.max)
        is_measured &= (np.abs(depth - exact) <= _NEAR) & (truth.instance[pixels] > 0)
        points = (frame.depth_camera.rays()[pixels] * depth[..., None])[is_measured]
        points = points @ frame.T_map_depth[:3, :3].T + frame.T_map_depth[:3, 3]
        cells = np.floor(points / _CELL).astype(np.int64) + (1 << (_BITS - 1))
        key = truth.instance[pixels][is_measured].astype(np.int64)
        for axis in range(3):
            key = key << _BITS | cells[:, axis]
        self._keys.append(np.unique(key))

    def cells(self) -> dict[int, int]:
        """Return how many cells of each instance id were measured; others have none."""
        keys = np.unique(np.concatenate([np.zeros(0, np.int64), *self._keys]))
        ids, counts = np.unique(keys >> (3 * _BITS), return_counts=True)
        return dict(zip(ids.tolist(), counts.tolist(), strict=True))
