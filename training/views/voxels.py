"""One point per voxel, drawn among those in it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError
from training.views.crop import Planes, Rows

_MAX_AXIS = 50_000  # voxels; leaves room for augmentation below the 65,535 of a PointBatch


class VoxelSample(NamedTuple):
    """Which points stand for the voxels of a cloud.

    Attributes:
        rows: (V,) int64, the point that stands for each voxel.
        voxel: (N,) int64, the voxel of each point.
    """

    rows: Rows
    voxel: Rows


def sample_voxels(coord: Planes, voxel_size: float, rng: np.random.Generator) -> VoxelSample:
    """Draw one point of each voxel, each member with equal chance.

    Args:
        coord: (3, N) float32 [m].
        voxel_size: Edge length of a voxel [m].
        rng: Draws the points.

    Raises:
        SourceError: There is no point, one is not finite, or they lie too far apart.
    """
    num_points = coord.shape[1]
    if not num_points:
        raise SourceError('a scene needs at least one point, found none: leave it out')
    # A key is a voxel, and below it the place of a point in a random order of all points: the
    # first key of a voxel then belongs to a random member.
    order = rng.permutation(num_points)
    bits = num_points.bit_length()
    keys = _cell_numbers(coord, voxel_size, bits)[order] << bits | np.arange(num_points)
    keys.sort()
    row = order[keys & (1 << bits) - 1]
    is_first = np.diff(keys >> bits, prepend=-1) != 0
    voxel = np.empty(num_points, dtype=np.int64)
    voxel[row] = np.cumsum(is_first) - 1
    return VoxelSample(rows=row[is_first], voxel=voxel)


def _cell_numbers(coord: Planes, voxel_size: float, spare_bits: int) -> NDArray[np.int64]:
    """Number the cells of a box around all points, (N,) int64."""
    low, high = coord.min(axis=1), coord.max(axis=1)
    if not np.isfinite(high - low).all():
        raise SourceError(f'coordinates must be finite, found {low} to {high}: clean the scene')
    shape = [int(cells) + 2 for cells in (high - low) / voxel_size]
    if max(shape) > _MAX_AXIS or shape[0] * shape[1] * shape[2] << spare_bits >= 1 << 63:
        raise SourceError(
            f'a scene must fit into {_MAX_AXIS} voxels of {voxel_size} m per axis, found points '
            f'from {low} to {high}: coordinates are metres; remove stray points'
        )
    cells = np.floor(coord / np.float32(voxel_size)).astype(np.int64)
    x, y, z = cells - cells.min(axis=1, keepdims=True)
    numbers: NDArray[np.int64] = (x * shape[1] + y) * shape[2] + z
    return numbers
