"""Reads which points an image sees, as a sparse list."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError
from training.datasets.parts import REPAIR, DataFile, read_array
from training.datasets.patch_grid import PatchGrid, SquareCrop
from training.structures import Links


def read_links(
    file: DataFile, image: int, grid: PatchGrid, crop: SquareCrop, num_points: int
) -> Links:
    """Read the links between a cloud and one image.

    Where several pixels inside the crop see the same point, the last row of the file counts.

    Args:
        file: (M, 3) rows (x_pixel, y_pixel, point_index), int or float; one row of -1 is none.
        image: Number of the image within the sample.
        grid: Of the image encoder.
        crop: The part of the image that is used.
        num_points: Of the cloud.

    Raises:
        SourceError: The file is missing or damaged, or names a point that does not exist.
    """
    x, y, point = _checked(file, read_array(file), num_points)
    patch, inside = grid.patches(x, y, crop)
    point = point[inside].astype(np.int64)
    kept = _last_of_each(point, num_points)
    point = point[kept]
    return Links(point=point, image=np.full(len(point), image), patch=patch[kept])


def join_links(parts: Sequence[Links]) -> Links:
    """Return the links of several images, in their order."""
    return Links(
        point=np.concatenate([np.zeros(0, dtype=np.int64), *(part.point for part in parts)]),
        image=np.concatenate([np.zeros(0, dtype=np.int64), *(part.image for part in parts)]),
        patch=np.concatenate([np.zeros((0, 2), dtype=np.float32), *(p.patch for p in parts)]),
    )


def _checked(file: DataFile, rows: NDArray, num_points: int) -> NDArray:
    """Return the (3, M) columns of correct rows."""
    if rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype.kind not in 'fiu':
        raise SourceError(
            f'{file} should hold (M, 3) rows of x, y and point, found {rows.shape} of '
            f'{rows.dtype}; {REPAIR}'
        )
    if len(rows) == 1 and (rows == -1).all():
        rows = rows[:0]
    columns = np.ascontiguousarray(rows.T)
    point = columns[2]
    is_good = (point >= 0) & (point < num_points)
    if rows.dtype.kind == 'f':
        is_good &= np.isfinite(columns).all(axis=0)
    if not is_good.all():
        first = int(is_good.argmin())
        raise SourceError(
            f'{file} should name points 0 to {num_points - 1}, found {int((~is_good).sum())} rows '
            f'that do not, the first is {rows[first].tolist()} in row {first}; {REPAIR}'
        )
    return columns


def _last_of_each(point: NDArray[np.int64], num_points: int) -> NDArray[np.int64]:
    """Return the rows that are the last ones of their points, in order."""
    row = np.arange(len(point))
    last = np.empty(num_points, dtype=np.int64)
    last[point] = row  # of equal points, the last assignment stays
    return np.flatnonzero(last[point] == row)
