"""Reads which points an image sees, as a sparse list."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError
from training.datasets.parts import REPAIR, DataFile, read_array
from training.datasets.patch_grid import PatchGrid, SquareCrop
from training.structures import Links


def no_links() -> Links:
    """Return those of a sample without images."""
    return join_links([])


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
    pixel, point = _checked(file, read_array(file), num_points)
    patch, is_inside = grid.patches(pixel, crop)
    point = point[is_inside]
    is_kept = _is_last(point, num_points)
    point = point[is_kept]
    return Links(point=point, image=np.full(len(point), image), patch=patch[is_kept])


def join_links(parts: Sequence[Links]) -> Links:
    """Return the links of several images, in their order."""
    return Links(
        point=np.concatenate([np.zeros(0, dtype=np.int64), *(part.point for part in parts)]),
        image=np.concatenate([np.zeros(0, dtype=np.int64), *(part.image for part in parts)]),
        patch=np.concatenate([np.zeros((0, 2), dtype=np.float32), *(p.patch for p in parts)]),
    )


def _checked(file: DataFile, rows: NDArray, num_points: int) -> tuple[NDArray, NDArray[np.int64]]:
    """Return (M, 2) pixels and (M,) points of correct rows."""
    if rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype.kind not in 'fiu':
        raise SourceError(
            f'{file} should hold (M, 3) rows of x, y and point, found {rows.shape} of '
            f'{rows.dtype}; {REPAIR}'
        )
    if len(rows) == 1 and (rows == -1).all():
        rows = rows[:0]
    point = rows[:, 2]
    is_good = (point >= 0) & (point < num_points)
    if rows.dtype.kind == 'f':
        is_good &= np.isfinite(rows).all(axis=1)
    if not is_good.all():
        first = int(is_good.argmin())
        raise SourceError(
            f'{file} should name points 0 to {num_points - 1}, found {int((~is_good).sum())} rows '
            f'that do not, the first is {rows[first].tolist()} in row {first}; {REPAIR}'
        )
    return rows[:, :2], point.astype(np.int64)


def _is_last(point: NDArray[np.int64], num_points: int) -> NDArray[np.bool_]:
    """Return (M,) which rows are the last ones of their points."""
    row = np.arange(len(point))
    last = np.zeros(num_points, dtype=np.int64)
    last[point] = row  # of equal points, the last assignment stays
    is_last: NDArray[np.bool_] = last[point] == row
    return is_last
