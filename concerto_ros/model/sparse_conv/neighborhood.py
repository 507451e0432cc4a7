"""Which rows of a cloud are neighbours on the grid: the geometry of a convolution."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor

MAX_DENSE_CELLS = 64_000_000  # of the bounding box: 256 MB; beyond it keys are searched


@dataclass(frozen=True)
class Neighborhood:
    """The neighbours of every voxel, built once per stage and shared by its blocks.

    Attributes:
        table: (N, T) int32, row of the neighbour under each tap of the kernel, N where there is
            none. Taps count along z fastest; with T = 27, tap 13 is the voxel itself.
        grid_coord: (N, 3) int64, the voxels.
        batch: (N,) int64, cloud of each; growing.
        rulebooks: What backends derived from the above, by their names.
    """

    table: Tensor
    grid_coord: Tensor
    batch: Tensor
    rulebooks: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def pairs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """For each tap the rows that have a neighbour there, and the neighbours, int64."""
        num_voxels = len(self.table)
        pairs = []
        for neighbor in self.table.t().contiguous():
            rows = (neighbor < num_voxels).nonzero().squeeze(1)
            pairs.append((rows, neighbor[rows].long()))
        return tuple(pairs)


def find_neighbors(
    grid_coord: Tensor,
    batch: Tensor,
    kernel_size: int = 3,
    max_dense_cells: int = MAX_DENSE_CELLS,
) -> Neighborhood:
    """Find the voxels under a cubic kernel around each voxel, within its cloud.

    Args:
        grid_coord: (N, 3) int64; no two rows of one cloud are equal.
        batch: (N,) int64, cloud of each row.
        kernel_size: Edge of the kernel in voxels, odd.
        max_dense_cells: Size of bounding box up to which a dense table is used.
    """
    if len(grid_coord) == 0:
        table = grid_coord.new_zeros(0, kernel_size**3, dtype=torch.int32)
        return Neighborhood(table, grid_coord, batch)
    margin = kernel_size // 2
    low = grid_coord.amin(0) - margin
    size_x, size_y, size_z = (grid_coord.amax(0) + margin + 1 - low).tolist()
    x, y, z = (grid_coord - low).unbind(1)
    key = ((batch * size_x + x) * size_y + y) * size_z + z
    reach = range(-margin, margin + 1)
    steps = [(dx * size_y + dy) * size_z + dz for dx, dy, dz in product(reach, reach, reach)]
    step = torch.tensor(steps, device=key.device)
    num_cells = (int(batch.amax()) + 1) * size_x * size_y * size_z
    is_small = num_cells <= max_dense_cells
    table = _look_up(key, step, num_cells) if is_small else _search(key, step)
    return Neighborhood(table, grid_coord, batch)


def _look_up(key: Tensor, step: Tensor, num_cells: int) -> Tensor:
    num_voxels = len(key)
    cells = torch.full((num_cells,), num_voxels, dtype=torch.int32, device=key.device)
    cells[key] = torch.arange(num_voxels, dtype=torch.int32, device=key.device)
    return cells[key[:, None] + step]


def _search(key: Tensor, step: Tensor) -> Tensor:
    """Search half of the taps among the sorted keys; the other half is their mirror image."""
    num_voxels, num_taps = len(key), len(step)
    ascending, row_of = key.sort()
    rows = torch.arange(num_voxels, device=key.device)
    table = torch.full((num_voxels, num_taps), num_voxels, device=key.device)
    table[:, num_taps // 2] = rows
    for tap in range(num_taps // 2):
        wanted = key + step[tap]
        place = torch.searchsorted(ascending, wanted).clamp_(max=num_voxels - 1)
        found = ascending[place] == wanted
        neighbor = row_of[place[found]]
        table[found, tap] = neighbor
        table[neighbor, num_taps - 1 - tap] = rows[found]
    return table.int()
