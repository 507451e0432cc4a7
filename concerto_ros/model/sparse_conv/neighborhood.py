"""Which rows of a cloud are neighbours on the grid: the geometry of a convolution."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

MAX_DENSE_CELLS = 64_000_000  # of the bounding box: 256 MB; beyond it keys are searched
_CHUNK_ROWS = 8192  # of narrow features: a cache holds what their pairs read and write


@dataclass(frozen=True, slots=True)
class Pairs:
    """Some of the pairs of neighbours under one tap and, seen from the other, its opposite.

    Attributes:
        tap: Below that of the voxel itself.
        rows: (M,) int64, growing.
        neighbors: (M,) int64, the neighbour of each under `tap`.
    """

    tap: int
    rows: Tensor
    neighbors: Tensor


@dataclass(frozen=True)
class Neighborhood:
    """The neighbours of every voxel, built once per stage and shared by its blocks.

    Attributes:
        table: (N, T) int32, row of the neighbour under each tap of the kernel, N where there is
            none; in memory tap after tap. Taps count along z fastest; with T = 27, tap 13 is the
            voxel itself.
        grid_coord: (N, 3) int64, the voxels.
        batch: (N,) int64, cloud of each; growing.
        rulebooks: What backends derived from the above, by their names.
    """

    table: Tensor
    grid_coord: Tensor
    batch: Tensor
    rulebooks: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def pairs(self) -> tuple[Pairs, ...]:
        """All pairs of neighbours, each once; those of near rows come one after the other."""
        num_voxels, num_taps = self.table.shape
        starts = range(0, num_voxels, _CHUNK_ROWS)
        chunks: list[list[Pairs]] = [[] for _ in starts]
        for tap in range(num_taps // 2):
            neighbors = self.table[:, tap]
            rows = (neighbors < num_voxels).nonzero().squeeze(1)
            neighbors = neighbors[rows].long()  # int32 takes a slow path of index_add
            bounds = torch.searchsorted(rows, torch.tensor(starts, device=rows.device)).tolist()
            for chunk, part in zip(chunks, _parts(bounds, len(rows)), strict=True):
                chunk.append(Pairs(tap, rows[part], neighbors[part]))
        return tuple(pairs for chunk in chunks for pairs in chunk if len(pairs.rows))


def _parts(starts: list[int], end: int) -> Iterator[slice]:
    return (slice(a, b) for a, b in pairwise([*starts, end]))


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
    return cells[key + step[:, None]].t()


def _search(key: Tensor, step: Tensor) -> Tensor:
    """Search half of the taps among the sorted keys; the other half is their mirror image."""
    num_voxels, num_taps = len(key), len(step)
    ascending, row_of = key.sort()
    rows = torch.arange(num_voxels, device=key.device)
    table = key.new_full((num_taps, num_voxels), num_voxels)
    table[num_taps // 2] = rows
    for tap in range(num_taps // 2):
        wanted = key + step[tap]
        place = torch.searchsorted(ascending, wanted).clamp_(max=num_voxels - 1)
        found = ascending[place] == wanted
        neighbor = row_of[place[found]]
        table[tap, found] = neighbor
        table[num_taps - 1 - tap, neighbor] = rows[found]
    return table.int().t()
