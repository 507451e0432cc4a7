"""ThinSurface: of the voxels that noise spreads a surface over, those in its middle.

Depth noise of a few centimetres puts a surface into several layers of voxels. A voxel is part of
the thin surface if, among the voxels up to two steps before and behind it, none that faces the
same way was measured more. The other side of a thin board faces away, so boards keep both sides.
"""

import torch
from torch import Tensor

from concerto_ros.mapping import fusion
from concerto_ros.mapping.chunk_index import ChunkIndex
from concerto_ros.mapping.growing import GrowingTensor
from concerto_ros.mapping.voxel_keys import (
    PLACE_BITS,
    pack_blocks,
    pack_voxels,
    submap_of,
    unpack_blocks,
    unpack_voxels,
)
from concerto_ros.mapping.voxel_rows import VoxelRows

_STEPS = (-2, -1, 1, 2)  # voxels along the main axis of the normal
_FACING = 0.3  # cosine from which two normals face the same way


class ThinSurface:
    """Counts the thin surface of a map, brought up to date block by block.

    A voxel of it is *dirty* if the network has not looked at the cell in which it lies. Noise adds
    voxels for ever, but hardly any cells, so a parked robot comes to rest.

    Args:
        rows: Which voxels are surface is stored there.
        index: Whose blocks and chunks are counted.
        device: Where the counts live.
        reserve: Blocks that are expected at most.
    """

    def __init__(
        self, rows: VoxelRows, index: ChunkIndex, device: torch.device | str, reserve: int = 0
    ) -> None:
        self._rows, self._index = rows, index
        self._of_block = GrowingTensor((2,), torch.int16, device, reserve)
        self._of_chunk = GrowingTensor((2,), torch.int32, device)

    @property
    def num_bytes(self) -> int:
        """Memory of the counts."""
        return self._of_block.num_bytes + self._of_chunk.num_bytes

    def of_blocks(self, block: Tensor) -> Tensor:
        """Return (V,) int64 surface voxels in blocks (V,)."""
        return self._of_block.all()[block, 0].long()

    def of_chunks(self, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """Return (C,) int64 surface voxels and dirty ones in chunks (C,)."""
        surface, dirty = self._of_chunk.all()[chunk].long().unbind(1)
        return surface, dirty

    def refresh(self, changed: Tensor) -> Tensor:
        """Decide anew for changed blocks (V,) and those beside them.

        Returns:
            (W,) int64 numbers of the blocks in which a voxel became or ceased to be surface.
        """
        block = _with_neighbors(self._index, changed)
        row, _ = self._index.rows_of_blocks(block)
        is_surface = _is_thin_surface(self._rows, self._index, row)
        stored = self._rows.is_surface.all()
        flipped = row[is_surface != stored[row]]
        stored[row] = is_surface
        self.count(block)
        return self._index.blocks(torch.unique(self._rows.key.all()[flipped] >> PLACE_BITS))

    def count(self, block: Tensor) -> None:
        """Count blocks (V,), each once, and correct the counts of their chunks."""
        self._grow()
        row, num_rows = self._index.rows_of_blocks(block)
        is_surface, is_looked_at = (
            self._rows.is_surface.all()[row],
            self._rows.is_looked_at.all()[row],
        )
        of_row = torch.stack([is_surface, is_surface & ~is_looked_at], dim=1).int()
        place = torch.arange(len(block), device=block.device).repeat_interleave(num_rows)
        counts = torch.zeros(len(block), 2, dtype=torch.int32, device=block.device)
        counts.index_add_(0, place, of_row)
        of_block = self._of_block.all()
        change = counts - of_block[block].int()
        of_block[block] = counts.short()
        self._of_chunk.all().index_add_(0, self._index.chunk_of_block(block), change)

    def add_dirty(self, chunk: Tensor, count: Tensor) -> None:
        """Count voxels (C,) more of chunks (C,) as dirty, until the network looks again."""
        self._of_chunk.all()[:, 1].index_add_(0, chunk, count.int())

    def mark_clean(self, chunk: Tensor) -> None:
        """Take the surface of chunks (C,) for what the network looks at."""
        block = self._index.blocks_of_chunks(chunk)
        row, _ = self._index.rows_of_blocks(block)
        self._rows.is_looked_at.all()[row] |= self._rows.is_surface.all()[row]
        self._of_block.all()[block, 1] = 0
        self._of_chunk.all()[chunk, 1] = 0

    def forget(self, chunk: Tensor, block: Tensor) -> None:
        """Set the counts of numbers that are free now to zero."""
        self._of_block.all()[block] = 0
        self._of_chunk.all()[chunk] = 0

    def _grow(self) -> None:
        self._of_block.grow(self._index.num_blocks)
        self._of_chunk.grow(self._index.num_chunks)


def _with_neighbors(index: ChunkIndex, block: Tensor) -> Tensor:
    """Return blocks (V,) and those that share a face with one of them, each once."""
    steps = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)]).long().to(block.device)
    key = index.block_keys[block]
    position = (unpack_blocks(key)[:, None] + steps).reshape(-1, 3)
    submap = submap_of(key << PLACE_BITS).repeat_interleave(len(steps))
    around = torch.unique(pack_blocks(position, submap))
    found = index.blocks(around)
    return found[found >= 0]


def _is_thin_surface(rows: VoxelRows, index: ChunkIndex, row: Tensor) -> Tensor:
    """Return (M,) bool for rows (M,)."""
    state = rows.state.all()
    own = state.index_select(0, row).float()
    normal, weight = own[:, fusion.NORMAL], own[:, fusion.WEIGHT]
    key = rows.key.all()[row]
    grid, submap = unpack_voxels(key), submap_of(key)
    axis = normal.abs().argmax(1, keepdim=True)
    is_surface = torch.ones_like(row, dtype=torch.bool)
    for step in _STEPS:
        beside = grid.scatter_add(1, axis, torch.full_like(axis, step))
        other_row = index.rows(pack_voxels(beside, submap))
        other = state.index_select(0, other_row.clamp(min=0)).float()
        other_normal = other[:, fusion.NORMAL]
        cosine = (normal * other_normal).sum(1)
        faces_alike = cosine > _FACING * normal.norm(dim=1) * other_normal.norm(dim=1)
        is_more = other[:, fusion.WEIGHT] > weight
        is_surface &= ~((other_row >= 0) & faces_alike & is_more)
    return is_surface
