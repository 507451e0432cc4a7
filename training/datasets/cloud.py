"""Reads the points of a scene and refuses those that would spoil a batch."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from concerto_ros.errors import SourceError
from training.datasets.parts import REPAIR, DataFolder, read_array

_SHORTEST_NORMAL = 1e-6


class CloudArrays(NamedTuple):
    """Points of a scene.

    Attributes:
        coord: (N, 3) float32 [m].
        color: (N, 3) float32 RGB in 0..255; zero where there is no file.
        normal: (N, 3) float32 unit vectors; zero where unknown.
    """

    coord: NDArray[np.float32]
    color: NDArray[np.float32]
    normal: NDArray[np.float32]


def read_cloud(folder: DataFolder) -> CloudArrays:
    """Read coord.npy and, where they exist, color.npy and normal.npy.

    Raises:
        SourceError: A file is damaged, there is no point, a coordinate or colour is not finite,
            or the arrays disagree in their number of rows.
    """
    coord = _finite(folder, 'coord')
    if len(coord) == 0:
        raise SourceError(f'{folder / "coord.npy"} has no point; {REPAIR}')
    shape = coord.shape
    has_color, has_normal = ((folder / f'{n}.npy').is_file() for n in ('color', 'normal'))
    color = _finite(folder, 'color', shape) if has_color else np.zeros_like(coord)
    normal = _rows(folder, 'normal', shape) if has_normal else np.zeros_like(coord)
    return CloudArrays(coord, color, _unit_or_zero(normal))


def _rows(
    folder: DataFolder, name: str, shape: tuple[int, ...] | None = None
) -> NDArray[np.float32]:
    """Read (N, 3) rows; `shape` is what they should have."""
    array = read_array(folder / f'{name}.npy')
    is_numeric = array.dtype.kind in 'fiu'
    if not is_numeric or array.ndim != 2 or array.shape != (shape or (len(array), 3)):
        expected = shape or '(N, 3)'
        raise SourceError(
            f'{folder / f"{name}.npy"} should hold {expected} numbers, found {array.shape} of '
            f'{array.dtype}; {REPAIR}'
        )
    return array.astype(np.float32, copy=False)


def _finite(
    folder: DataFolder, name: str, shape: tuple[int, ...] | None = None
) -> NDArray[np.float32]:
    rows = _rows(folder, name, shape)
    if not np.isfinite(rows).all():
        bad = ~np.isfinite(rows).all(axis=1)
        raise SourceError(
            f'{folder / f"{name}.npy"} should be finite, found {int(bad.sum())} rows that are '
            f'not, the first is {int(bad.argmax())}; {REPAIR}'
        )
    return rows


def _unit_or_zero(normal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give vectors the length 1; those of no length or direction become zero."""
    length = np.sqrt(np.einsum('nc,nc->n', normal, normal))
    is_known = np.isfinite(length) & (length > _SHORTEST_NORMAL)
    scale = np.where(is_known, 1.0 / np.where(is_known, length, 1.0), 0.0).astype(np.float32)
    unit = normal * scale[:, None]
    unit[~is_known] = 0.0  # nan times zero is nan
    return unit
