"""Where a camera can walk: a grid over the floor that knows the distance to what is in the way."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from concerto_ros.rooms.footprints import Footprint

CELL = 0.1  # edge of a cell [m]
CLEARANCE = 0.27  # a cell is free if its middle is farther from everything [m]
WALK = (0.1, 1.8)  # heights between which an object is in the way [m]

Cell = tuple[int, int]


class WalkingGrid:
    """Cells over a rectangular floor about the origin.

    Attributes:
        half: (2,) float64 [m], half the extent of the floor.
        centers: (I, J, 2) float64 [m], middles of the cells.
        distance: (I, J) float64 [m], from the middle to the nearest wall or obstacle.
    """

    def __init__(self, width: float, depth: float) -> None:
        self.half = np.array([width, depth]) / 2
        counts = [max(1, int(extent / CELL)) for extent in (width, depth)]
        axes = [
            (np.arange(n) + 0.5) * CELL - half for n, half in zip(counts, self.half, strict=True)
        ]
        self.centers = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
        self.distance = self._to_walls(self.centers)
        self._obstacles: list[Footprint] = []

    def with_obstacle(self, spot: Footprint) -> NDArray[np.float64]:
        """Return `distance` as it would be with one more obstacle."""
        points = self.centers.reshape(-1, 2)
        return np.minimum(self.distance, spot.distance(points).reshape(self.distance.shape))

    def add(self, spot: Footprint) -> None:
        """Take in an obstacle."""
        self.distance = self.with_obstacle(spot)
        self._obstacles.append(spot)

    def clearance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the exact distance (N,) [m] of `points` (N, 2) to walls and obstacles."""
        nearest = self._to_walls(points)
        for obstacle in self._obstacles:
            nearest = np.minimum(nearest, obstacle.distance(points))
        return nearest

    def cell(self, point: NDArray[np.float64]) -> Cell:
        """Return the cell of a point (2,), or the nearest one."""
        i, j = ((point + self.half) / CELL).astype(int)
        rows, columns = self.distance.shape
        return min(max(int(i), 0), rows - 1), min(max(int(j), 0), columns - 1)

    def _to_walls(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        nearest: NDArray[np.float64] = (self.half - np.abs(points)).min(axis=-1)
        return nearest


def in_the_way(spot: Footprint) -> bool:
    """Tell whether a walking camera must go around a box."""
    return spot.low < WALK[1] and spot.high > WALK[0]


def flood(free: NDArray[np.bool_], start: Cell) -> NDArray[np.bool_]:
    """Return the cells (I, J) that can be reached from `start` over `free` cells (I, J)."""
    reached = np.zeros_like(free)
    if not free[start]:
        return reached
    reached[start] = True
    queue = deque([start])
    rows, columns = free.shape
    while queue:
        i, j = queue.popleft()
        for a, b in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if 0 <= a < rows and 0 <= b < columns and free[a, b] and not reached[a, b]:
                reached[a, b] = True
                queue.append((a, b))
    return reached
