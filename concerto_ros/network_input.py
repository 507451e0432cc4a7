"""From rows of a map to what the network sees: cells as large as those it was trained on."""

import math

from torch import Tensor

from concerto_ros.mapping import VoxelMap
from concerto_ros.model import PreparedCloud, prepare_map

_CLOSE = 1e-3  # sizes that differ by less are the same


def voxels_per_cell(voxel_size: float, cell_size: float | None) -> int | None:
    """Return how many voxels of a map lie along the edge of a cell; None if they do not fit.

    Args:
        voxel_size: Of the map [m].
        cell_size: Of the voxels that the network was trained on [m]; None: unknown, and taken to
            be that of the map.
    """
    if cell_size is None:
        return 1
    number = max(1, round(cell_size / voxel_size))
    return number if math.isclose(number * voxel_size, cell_size, rel_tol=_CLOSE) else None


def prepare_rows(voxel_map: VoxelMap, rows: Tensor, cell_size: float | None) -> PreparedCloud:
    """Make the network's input of rows of a map; see `prepare_map`.

    Args:
        voxel_map: The map.
        rows: (M,) int64, at least one.
        cell_size: Of the voxels that the network was trained on [m]; where the map's do not fit
            into them, and where it is None, the network sees those of the map.
    """
    return prepare_map(
        voxel_map.grid_coord(rows),
        voxel_map.coord(rows),
        voxel_map.color(rows),
        voxel_map.normal(rows),
        voxels_per_cell=voxels_per_cell(voxel_map.voxel_size, cell_size) or 1,
    )
