"""Parts of a cloud: the points nearest to a centre."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]
Rows = NDArray[np.int64]


class Cloud(NamedTuple):
    """Points as planes.

    Attributes:
        coord: (3, N) float32 [m].
        color: (3, N) float32 RGB in 0..1; zero where unknown.
        normal: (3, N) float32 unit vectors; zero where unknown.
    """

    coord: Planes
    color: Planes
    normal: Planes

    @property
    def num_points(self) -> int:
        """N."""
        return int(self.coord.shape[1])

    def take(self, rows: Rows) -> 'Cloud':
        """Return the points of some rows."""
        return Cloud(*(planes.take(rows, axis=1) for planes in self))


def nearest(coord: Planes, center: NDArray[np.float32], count: int) -> Rows:
    """Choose the points nearest to a centre.

    Args:
        coord: (3, N) float32 [m].
        center: (3,) float32 [m].
        count: How many; all if there are fewer.

    Returns:
        (min(count, N),) int64 rows in rising order, so that what lay together stays together.
    """
    num_points = coord.shape[1]
    if count >= num_points:
        return np.arange(num_points)
    offset = coord - center[:, None]
    distance = np.einsum('ij,ij->j', offset, offset)
    is_near = np.zeros(num_points, dtype=bool)
    is_near[np.argpartition(distance, count)[:count]] = True
    return np.flatnonzero(is_near)
