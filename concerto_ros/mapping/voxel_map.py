"""VoxelMap: a map of surface voxels whose cost per frame does not grow with its size."""

import torch
from torch import Tensor

from concerto_ros.geometry.rgbd import SurfacePoints
from concerto_ros.mapping import fusion
from concerto_ros.mapping.chunk_records import ChunkRecords
from concerto_ros.mapping.looking import Looking
from concerto_ros.mapping.voxel_keys import (
    CHUNK_SHIFT,
    PLACE_BITS,
    pack_voxels,
    submap_of_chunk,
    unique_voxels,
)
from concerto_ros.mapping.voxel_reading import CHUNK_VOXELS, GROUP_VOXELS, REACH

__all__ = ['CHUNK_VOXELS', 'GROUP_VOXELS', 'VoxelMap']


class VoxelMap(Looking, ChunkRecords):
    """Voxels in which something was measured, one row each; rows of removed ones are used again.

    What the map says is its thin surface: `surface_rows`, and what is made of them. Voxels lie in
    submaps, each with a frame of its own; coordinates are those in that frame. Its arguments and
    attributes are those of `VoxelTables`.
    """

    def integrate(
        self, points: SurfacePoints, stamp_ns: int, max_weight: float, submap: int = 0
    ) -> int:
        """Fuse the points of one frame; those beyond 650 m (at 2 cm) are left out.

        Args:
            points: In the frame of the submap.
            stamp_ns: Time of the frame [ns].
            max_weight: Cap on the weight of the past.
            submap: Where they are fused.

        Returns:
            Number of new voxels.
        """
        scaled = points.coord / self.voxel_size
        grid = scaled.floor()
        values = torch.cat([scaled - grid - 0.5, points.color, points.normal], dim=1)
        weight = points.weight
        low, high = grid.aminmax()
        if not (low >= -REACH and high < REACH):
            in_reach = ((grid >= -REACH) & (grid < REACH)).all(1)
            grid, values, weight = grid[in_reach], values[in_reach], weight[in_reach]
        key, voxel = unique_voxels(pack_voxels(grid.long(), submap))
        measured = fusion.mean_per_voxel(values, weight, voxel, len(key))
        row, is_new, block = self._index.add_voxels(key, self._rows.slots)
        self._rows.begin(row[is_new], key[is_new], stamp_ns)
        if self.cells:
            cell = self.cells.nearest(key[is_new])
            self._rows.cell.all()[row[is_new]] = cell.int()
            self._rows.is_looked_at.all()[row[is_new]] = cell >= 0
        state = self._rows.state.all()
        fused = fusion.fuse(state.index_select(0, row).float(), measured, max_weight)
        state[row] = fused.half()
        self._rows.mark_seen(row, stamp_ns)
        self._mark_seen(block, stamp_ns)
        return int(is_new.sum())

    def remove(self, rows: Tensor) -> None:
        """Forget voxels (M,), each once."""
        if len(rows) == 0:
            return
        key = self._rows.key.all()[rows]
        lost = self._index.chunks(key[self._rows.is_looked_at.all()[rows]] >> CHUNK_SHIFT)
        block = self._index.forget_voxels(key)
        self._rows.end(rows)
        self._surface.count(block)
        chunk, count = torch.unique(lost, return_counts=True)
        self._surface.add_dirty(chunk, count)
        self._mark_changed(block)

    def wear(self, block: Tensor, rows: Tensor, is_seen_through: Tensor, max_misses: int) -> int:
        """Count a look through voxels, and remove those with too many.

        Args:
            block: (V,) int64 numbers of the blocks that were tested.
            rows: (M,) int64 of their voxels, see `rows_of_blocks`.
            is_seen_through: (M,) bool.
            max_misses: After so many looks with nothing measured in between a voxel is gone.

        Returns:
            Number of voxels removed.
        """
        missed = rows[is_seen_through]
        gone = self._rows.mark_missed(missed) >= max_misses
        worn = self.key(missed[~gone]) >> PLACE_BITS
        self._is_worn.grow(self._index.num_blocks)
        self._is_worn.all()[block] = False
        self._is_worn.all()[self._index.blocks(worn)] = True
        self.remove(missed[gone])
        return int(gone.sum())

    def shift(self, submap: int, steps: int) -> list[Tensor]:
        """Move all voxels of a submap along z, by voxels; what the network knows is forgotten.

        Returns:
            Per level the numbers of the cells that were freed.
        """
        key = self._index.chunk_keys
        chunk_key = key[submap_of_chunk(key) == submap]
        rows = self.rows_of_chunks(chunk_key)
        grid = self.grid_coord(rows)
        grid[:, 2] += steps
        moved, order = pack_voxels(grid, submap).sort()
        record = self._rows.record(rows[order])
        record['is_looked_at'].fill_(False)
        self.remove(rows)
        self._surface.mark_clean(self._index.chunks(chunk_key))
        new, _, block = self._index.add_voxels(moved, self._rows.slots)
        self._rows.begin(new, moved)
        self._rows.restore(new, record)
        self._surface.count(block)
        self._mark_changed(block)
        self._mark_restored(block)
        return self._free_cells(self._index.chunks(chunk_key))
