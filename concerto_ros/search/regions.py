"""Axis-aligned regions of the map, and how much of one has been seen."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from concerto_ros.errors import SearchError

Region = tuple[ArrayLike, ArrayLike]  # lower and upper corner, (3,) each [m], map frame


_REACH = 50_000.0  # [m]


def inside(coord: NDArray[np.floating], region: Region) -> NDArray[np.bool_]:
    """Return (N,) bool, which of the points (N, 3) [m] lie in the region, its faces included.

    Raises:
        SearchError: The region is empty, upside down, or not finite.
    """
    low, high = _corners(region)
    mask: NDArray[np.bool_] = np.all((coord >= low) & (coord <= high), axis=1)
    return mask


def observed_share(coord: NDArray[np.floating], region: Region, column: float = 0.10) -> float:
    """Return which share of the region's columns holds a point.

    Args:
        coord: (N, 3) float [m], surface voxels of the map.
        region: Lower and upper corner (3,) [m].
        column: Edge length of a column seen from above [m]; columns start at the lower corner,
            and the last one along each axis may be narrower.

    Returns:
        0..1.

    Raises:
        SearchError: The region is empty, upside down, or not finite.
    """
    low, high = _corners(region)
    num_x, num_y = np.maximum(np.ceil((high - low)[:2] / column - 1e-6), 1).astype(np.int64)
    held = coord[inside(coord, region), :2].astype(np.float64)
    # A point on the upper face belongs to the last column; the tiny shift undoes rounding.
    index = np.floor((held - low[:2]) / column + 1e-6).astype(np.int64)
    index = np.minimum(index, [num_x - 1, num_y - 1])
    return len(np.unique(index[:, 0] * num_y + index[:, 1])) / float(num_x * num_y)


def _corners(region: Region) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = (np.asarray(corner, dtype=np.float64) for corner in region)
    if low.shape != (3,) or high.shape != (3,) or not np.isfinite([low, high]).all():
        raise SearchError(
            f'expected a region of two corners with three finite numbers each, got {low}, {high}'
        )
    if (low >= high).any():
        raise SearchError(
            f'the region is empty: its min {low} must be below its max {high} on every axis'
        )
    # Farther than any map reaches, and counts of columns still fit into 64 bits.
    return low.clip(-_REACH, _REACH), high.clip(-_REACH, _REACH)
