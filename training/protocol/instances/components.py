"""Connected components of points in space."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from concerto_ros.search.clustering import merge

_PAIRS_AT_ONCE = 1 << 20  # pairs of points, bounds the memory
_REACH = 2  # cells of radius / sqrt(3) that a radius spans along an axis
_WINDOW = sorted(
    (shift for shift in product(range(-_REACH, _REACH + 1), repeat=3) if shift > (0, 0, 0)),
    key=lambda shift: sum(step * step for step in shift),
)  # half of the neighbours, the nearest first


def connected_points(position: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """Number the groups of points that hang together.

    Two points hang together when their distance is at most `radius`. This is exact, however
    dense the points are; the published search stops at 300 neighbours of a point.

    Args:
        position: (M, 3) finite; less than a million radii along each axis.
        radius: In the unit of `position`.

    Returns:
        (M,) int64 component of each point, from 0; it does not depend on the order of the
        points which of them are together.
    """
    if not len(position):
        return np.zeros(0, dtype=np.int64)
    cells = _Cells.sort(position, radius / 3**0.5)  # those of one cell hang together
    root = np.arange(len(cells.key))
    for shift in _WINDOW:
        a, b = cells.neighbors(shift, root)
        _join(root, cells, a, b, radius)
    of_root = np.unique(root, return_inverse=True)[1]
    component: NDArray[np.int64] = of_root[root][cells.of_point].astype(np.int64)
    return component


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cells:
    """Points sorted by K occupied cells.

    Attributes:
        key: (K,) int64, growing.
        stride: (3,) int64, key of a cell less that of the one before it along each axis.
        of_point: (M,) cell of each point as given.
        position: (M, 3) in the order of the cells.
        start: (K,) row of `position` where a cell begins.
        count: (K,) points in a cell.
        lower: (K, 3) lowest coordinates of its points.
        upper: (K, 3) highest.
    """

    key: NDArray[np.int64]
    stride: NDArray[np.int64]
    of_point: NDArray[np.int64]
    position: NDArray[np.float64]
    start: NDArray[np.int64]
    count: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @classmethod
    def sort(cls, position: NDArray[np.float64], edge: float) -> '_Cells':
        grid = np.floor((position - position.min(axis=0)) / edge).astype(np.int64)
        size = grid.max(axis=0) + 1 + _REACH  # padded, so that no neighbour is beyond an edge
        stride = np.array([size[1] * size[2], size[2], 1])
        key, of_point, count = np.unique(grid @ stride, return_inverse=True, return_counts=True)
        start = np.cumsum(count) - count
        ordered = position[np.argsort(of_point, kind='stable')]
        return cls(
            key=key,
            stride=stride,
            of_point=of_point,
            position=ordered,
            start=start,
            count=count,
            lower=np.minimum.reduceat(ordered, start),
            upper=np.maximum.reduceat(ordered, start),
        )

    def neighbors(
        self, shift: tuple[int, ...], root: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the pairs of cells a shift apart that are not yet in one component."""
        wanted = self.key + self.stride @ np.array(shift)
        other = np.searchsorted(self.key, wanted).clip(max=len(self.key) - 1)
        apart = np.flatnonzero((self.key[other] == wanted) & (root != root[other]))
        return apart, other[apart]


def _join(
    root: NDArray[np.int64],
    cells: _Cells,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    radius: float,
) -> None:
    """Join, in place, the pairs of cells with two points within the radius."""
    pair = np.repeat(np.arange(len(a)), cells.count[a])
    point = cells.position[_ranges(cells.start[a], cells.count[a])]
    near = point.clip(cells.lower[b[pair]], cells.upper[b[pair]])
    is_near = _squares(point, near) <= radius**2
    pair, point = pair[is_near], point[is_near]
    for part in _parts(cells.count[b[pair]]):
        left, right = a[pair[part]], b[pair[part]]
        apart = root[left] != root[right]
        left, right, from_left = left[apart], right[apart], point[part][apart]
        num = cells.count[right]
        to_right = cells.position[_ranges(cells.start[right], num)]
        touch = _squares(np.repeat(from_left, num, axis=0), to_right) <= radius**2
        item = np.repeat(np.arange(len(num)), num)[touch]
        merge(root, left[item], right[item])


def _squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = ((a - b) ** 2).sum(axis=1)
    return squares


def _parts(count: NDArray[np.int64]) -> Iterator[slice]:
    """Yield stretches of items whose counts sum to `_PAIRS_AT_ONCE`, and one item over it."""
    part = np.cumsum(count) // _PAIRS_AT_ONCE
    ends = np.append(np.flatnonzero(np.diff(part)) + 1, len(count))
    start = 0
    for end in ends.tolist():
        yield slice(start, end)
        start = end


def _ranges(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return start[0], start[0] + 1, ... for count[0] numbers, then the same for the next."""
    before = np.cumsum(count) - count
    return np.repeat(start - before, count) + np.arange(count.sum())
