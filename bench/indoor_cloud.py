"""Voxelised indoor clouds of any size: parts of synthetic rooms, as a depth camera sees them."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from concerto_ros.model import PointBatch
from concerto_ros.rooms.room import SyntheticRoom

_VOXEL_SIZE = 0.02  # metres
_NOISE = 0.005  # metres
_YAW = 0.4  # walls are not along the grid
_SPACING = 0.009  # of the points on the surfaces [m]; dense enough to leave few holes


def indoor_points(num_points: int) -> PointBatch:
    """Return one cloud of exactly so many voxels, those nearest to a corner of a row of rooms.

    Rows are in random order, as the published voxeliser leaves them; feature channels are
    coordinates [m], colour in 0..1 and unit normal.
    """
    rows, grid = _voxels(max(1, -(-num_points // 550_000)))
    nearest = np.argpartition((grid[:, :2] ** 2).sum(1), num_points)[:num_points]
    nearest = np.random.default_rng(0).permutation(nearest)
    rows, grid = rows[nearest], grid[nearest]
    rows[:, :2] -= (rows[:, :2].min(0) + rows[:, :2].max(0)) / 2
    return PointBatch(
        coord=torch.from_numpy(rows[:, :3].copy()),
        grid_coord=torch.from_numpy(grid),
        feat=torch.from_numpy(rows),
        offset=torch.tensor([num_points]),
    )


@lru_cache(maxsize=1)
def _voxels(num_rooms: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (N, 9) coordinates, colours and normals, and (N, 3) cells, one row per voxel."""
    rng = np.random.default_rng(0)
    room = SyntheticRoom(seed=0, kind='meeting_room')
    cloud = room.cloud(_SPACING)
    turn = np.array([[np.cos(_YAW), np.sin(_YAW), 0], [-np.sin(_YAW), np.cos(_YAW), 0], [0, 0, 1]])
    parts = []
    for i in range(num_rooms):
        coord = cloud.coord + rng.normal(0, _NOISE, cloud.coord.shape)
        coord[:, 0] += i * room.size[0]
        parts.append(np.concatenate([coord @ turn, cloud.color / 255, cloud.normal @ turn], 1))
    rows = np.concatenate(parts).astype(np.float32)
    rows[:, :3] -= rows[:, :3].min(0)
    grid = np.floor(rows[:, :3] / np.float32(_VOXEL_SIZE)).astype(np.int64)
    x, y, z = grid.T
    _, first = np.unique((x << 32) | (y << 16) | z, return_index=True)
    return rows[first], grid[first]
