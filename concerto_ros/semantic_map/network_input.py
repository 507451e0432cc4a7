"""From a window of the map to what the network sees: cells as large as those of its training."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from concerto_ros.mapping import CHUNK_VOXELS, VoxelMap
from concerto_ros.mapping.voxel_keys import corners, unpack_voxels
from concerto_ros.model import FLOOR_SHARE, PointBatch, centered, prepare_map
from concerto_ros.semantic_map.window_rooms import room_parts
from concerto_ros.semantic_map.window_scheduler import first_points

_CLOSE = 1e-3  # sizes that differ by less are the same


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowPart:
    """One room, as far as it lies in a window.

    Attributes:
        points: M cells, on the lattice of the map, with their middle at x = y = 0.
        cell_key: (M,) int64, key of a voxel in each cell.
        weight: (M,) float32, 1 inside. 0 in the halo, whose cells the network sees too little of:
            only where nothing is known does that count. Weights that fall slowly towards the
            border were measured to be no better.
    """

    points: PointBatch
    cell_key: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """A part of a submap, as it was when it was read.

    Attributes:
        chunk_key: (C,) int64 of the chunks that are seen whole; none if there is too much.
        voxel_key: (V,) int64 of the voxels of the surface in these, and in a halo around them.
        parts: What the network sees, one after the other; of coarse cells in two of them the later
            one tells.
    """

    chunk_key: Tensor
    voxel_key: Tensor
    parts: tuple[WindowPart, ...]


def voxels_per_cell(voxel_size: float, cell_size: float | None) -> int | None:
    """Return how many voxels of a map lie along the edge of a cell; None if they do not fit.

    Args:
        voxel_size: Of the map [m].
        cell_size: Of the voxels that the network was trained on [m]; None: unknown, and taken to
            be that of the map. It may be one, two or four times that of the map.
    """
    if cell_size is None:
        return 1
    number = max(1, round(cell_size / voxel_size))
    fits = number in (1, 2, 4) and math.isclose(number * voxel_size, cell_size, rel_tol=_CLOSE)
    return number if fits else None


def read_window(
    voxel_map: VoxelMap, chunk_key: Tensor, halo: int, floor: float, max_points: int
) -> Window:
    """Read chunks of one submap and what is around them, which is then clean.

    Args:
        voxel_map: A map with cells.
        chunk_key: (C,) int64, at least one that holds surface.
        halo: Cells of the coarsest level around the chunks.
        floor: Height of the floor in the submap [m].
        max_points: Most voxels. If there are more, only the inner ones are seen and become clean,
            those first that are dirty.
    """
    assert voxel_map.cells is not None
    layout = voxel_map.cells.layout
    rows, ring = _with_halo(voxel_map, chunk_key, halo, layout.edge_bits[-1])
    if len(rows) > max_points:
        chosen = first_points(ring.numpy(force=True), voxel_map.is_dirty(rows), max_points)
        rows, ring = rows[chosen], ring[chosen]
        chunk_key = chunk_key[:0]
        voxel_map.mark_seen_by_network(rows)
    else:
        voxel_map.mark_looked_at(chunk_key)
    weight = (ring == 0).float()
    cloud = prepare_map(
        voxel_map.grid_coord(rows),
        voxel_map.coord(rows),
        voxel_map.color(rows),
        voxel_map.normal(rows),
        voxels_per_cell=layout.voxels_per_cell,
        floor=floor,
    )
    key = voxel_map.key(rows)
    first = _first_of_each(cloud.inverse, len(cloud.points.coord))
    cell_key, weight = key[first], weight[first]
    cell = unpack_voxels(cell_key) >> layout.edge_bits[0]
    cell_size = voxel_map.voxel_size * layout.voxels_per_cell
    parts = room_parts(cell, weight == 1, int(floor // cell_size), cell_size)
    return Window(
        chunk_key=chunk_key,
        voxel_key=key,
        parts=tuple(
            WindowPart(
                points=centered(cloud.points, part), cell_key=cell_key[part], weight=weight[part]
            )
            for part in parts
        ),
    )


def floor_height(voxel_map: VoxelMap, submap: int) -> tuple[int, float]:
    """Return the cell and the height [m] of the floor in a submap, as far as one can tell.

    It is where one voxel of the surface in a hundred lies lower.
    """
    assert voxel_map.cells is not None
    rows, rank = voxel_map.low_rows(submap, FLOOR_SHARE)
    if len(rows) == 0:
        return 1, 0.0
    cell = voxel_map.grid_coord(rows)[:, 2] >> voxel_map.cells.layout.edge_bits[0]
    height = voxel_map.coord(rows)[:, 2]
    return int(cell.kthvalue(1 + rank).values), float(height.kthvalue(1 + rank).values)


def _with_halo(
    voxel_map: VoxelMap, chunk_key: Tensor, halo: int, edge_bits: int
) -> tuple[Tensor, Tensor]:
    """Return the rows (V,) of a window, and how many cells (V,) int64 they are outside."""
    chunks = voxel_map.chunks()
    inside = torch.isin(chunks.key, chunk_key)
    of_edge = CHUNK_VOXELS >> edge_bits  # coarsest cells along the edge of a chunk
    low = chunks.grid[inside] * of_edge
    reach = -(-halo // of_edge)  # in chunks
    apart = (chunks.grid[:, None] - chunks.grid[inside]).abs().amax(2).amin(1)
    near = (apart <= reach) & (chunks.submap == chunks.submap[inside][0])
    rows = voxel_map.surface_rows(chunks.key[near])
    corner, of_row = torch.unique(corners(voxel_map.key(rows), edge_bits), return_inverse=True)
    cell = unpack_voxels(corner) >> edge_bits
    below, above = low - cell[:, None], cell[:, None] - (low + of_edge - 1)
    ring = torch.maximum(below, above).clamp(min=0).amax(2).amin(1)
    is_near = (ring <= halo)[of_row]
    return rows[is_near], ring[of_row[is_near]]


def _first_of_each(group: Tensor, num_groups: int) -> Tensor:
    """Return (G,) int64, the first of (N,) that is in each group."""
    order = torch.arange(len(group), device=group.device)
    last = torch.full((num_groups,), len(group), device=group.device)
    return last.scatter_reduce(0, group, order, 'amin')
