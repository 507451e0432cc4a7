"""ThinSurface: of the voxels that noise spreads a surface over, those in its middle.

Depth noise of a few centimetres puts a surface into several layers of voxels. A voxel is part of
the thin surface if, among the voxels up to two steps before and behind it, none that faces the
same way was measured more. The other side of a thin board faces away, so boards keep both sides.
"""

import torch
from torch import Tensor

from concerto_ros.mapping import fusion
from concerto_ros.mapping.block_index import BlockIndex
from concerto_ros.mapping.growing import GrowingTensor
from concerto_ros.mapping.voxel_keys import (
    PLACE_BITS,
    pack_blocks,
    pack_voxels,
    unpack_blocks,
    unpack_voxels,
)
from concerto_ros.mapping.voxel_rows import VoxelRows

_STEPS = (-2, -1, 1, 2)  # voxels along the main axis of the normal
_FACING = 0.3  # cosine from which two normals face the same way


class ThinSurface:
    """Which rows of a map are its thin surface, brought up to date block by block."""

    def __init__(self, device: torch.device | str) -> None:
        self._is_surface = GrowingTensor((), torch.bool, device)
        self._num_rows = GrowingTensor((), torch.int32, device)

    @property
    def num_bytes(self) -> int:
        """Memory of all marks."""
        return self._is_surface.num_bytes + self._num_rows.num_bytes

    @property
    def is_surface(self) -> Tensor:
        """(N,) bool per row of the map."""
        return self._is_surface.all()

    @property
    def num_rows(self) -> Tensor:
        """(B,) int32 surface voxels per block, by number."""
        return self._num_rows.all()

    def refresh(self, rows: VoxelRows, index: BlockIndex, changed: Tensor) -> Tensor:
        """Decide anew for changed blocks (V,) and those beside them.

        Returns:
            (W,) int64 numbers of the blocks in which a voxel became or ceased to be surface.
        """
        for column, length in ((self._is_surface, len(rows)), (self._num_rows, len(index))):
            column.append(torch.zeros(1, device=changed.device).expand(length - len(column)))
        block = _with_neighbors(index, changed)
        row, num_rows = index.rows_of_blocks(block)
        is_surface = _is_thin_surface(rows, index, row)
        flipped = row[is_surface != self.is_surface[row]]
        self.is_surface[row] = is_surface
        of_block = torch.arange(len(block), device=block.device).repeat_interleave(num_rows)
        counts = torch.zeros_like(block).index_add_(0, of_block, is_surface.long())
        self.num_rows[block] = counts.int()
        return index.blocks(torch.unique(rows.key.all()[flipped] >> PLACE_BITS))


def _with_neighbors(index: BlockIndex, block: Tensor) -> Tensor:
    """Return blocks (V,) and those that share a face with one of them, each once."""
    steps = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)]).long().to(block.device)
    position = unpack_blocks(index.keys[block])
    around = torch.unique(pack_blocks((position[:, None] + steps).reshape(-1, 3)))
    found = index.blocks(around)
    return found[found >= 0]


def _is_thin_surface(rows: VoxelRows, index: BlockIndex, row: Tensor) -> Tensor:
    """Return (M,) bool for rows (M,)."""
    state = rows.state.all()
    own = state.index_select(0, row).float()
    normal, weight = own[:, fusion.NORMAL], own[:, fusion.WEIGHT]
    grid = unpack_voxels(rows.key.all()[row])
    axis = normal.abs().argmax(1, keepdim=True)
    is_surface = torch.ones_like(row, dtype=torch.bool)
    for step in _STEPS:
        beside = grid.scatter_add(1, axis, torch.full_like(axis, step))
        other_row = index.rows(pack_voxels(beside))
        other = state.index_select(0, other_row.clamp(min=0)).float()
        other_normal = other[:, fusion.NORMAL]
        cosine = (normal * other_normal).sum(1)
        faces_alike = cosine > _FACING * normal.norm(dim=1) * other_normal.norm(dim=1)
        is_more = other[:, fusion.WEIGHT] > weight
        is_surface &= ~((other_row >= 0) & faces_alike & is_more)
    return is_surface
