"""Axis-aligned regions of the map, and how much of one has been seen."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from concerto_ros.errors import SearchError

Region = tuple[ArrayLike, ArrayLike]  # lower and upper corner, (3,) each [m], map frame


_REACH = 50_000.0  # [m]
_COLUMN = 0.10  # [m]


def inside(coord: NDArray[np.floating], region: Region) -> NDArray[np.bool_]:
    """Return (N,) bool, which of the points (N, 3) [m] lie in the region, its faces included.

    Raises:
        SearchError: The region is empty, upside down, or not finite.
    """
    low, high = _corners(region)
    mask: NDArray[np.bool_] = np.all((coord >= low) & (coord <= high), axis=1)
    return mask


def columns(coord: NDArray[np.floating], region: Region) -> NDArray[np.int64]:
    """Return the (M,) sorted numbers of the region's columns that hold a point.

    Args:
        coord: (N, 3) float [m], surface voxels of the map.
        region: Lower and upper corner (3,) [m]. Its columns are 10 cm wide seen from above and
            start at the lower corner; the last one along each axis may be narrower.

    Raises:
        SearchError: The region is empty, upside down, or not finite.
    """
    low, _ = _corners(region)
    num_x, num_y = _num_columns(region)
    held = coord[inside(coord, region), :2].astype(np.float64)
    # A point on the upper face belongs to the last column; the tiny shift undoes rounding.
    index = np.floor((held - low[:2]) / _COLUMN + 1e-6).astype(np.int64)
    index = np.minimum(index, [num_x - 1, num_y - 1])
    return np.unique(index[:, 0] * num_y + index[:, 1])


def observed_share(coord: NDArray[np.floating], region: Region) -> float:
    """Return which share of the region's columns holds a point, 0..1; see `columns`."""
    return share_of(columns(coord, region), region)


def share_of(held: NDArray[np.int64], region: Region) -> float:
    """Return which share of the region's columns these are, 0..1."""
    num_x, num_y = _num_columns(region)
    return len(held) / float(num_x * num_y)


def _num_columns(region: Region) -> tuple[int, int]:
    low, high = _corners(region)
    num_x, num_y = np.maximum(np.ceil((high - low)[:2] / _COLUMN - 1e-6), 1).astype(np.int64)
    return int(num_x), int(num_y)


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
