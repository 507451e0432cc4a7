"""Looking: what the network has looked at, and what it called it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concerto_ros.mapping.voxel_keys import (
    CHUNK_SHIFT,
    PLACE_BITS,
)
from concerto_ros.mapping.voxel_reading import VoxelReading
from concerto_ros.mapping.voxel_rows import FREE

_VISIBLE = 0.05  # change of a confidence


class Looking(VoxelReading):
    """Cells and labels of the voxels at which the network has looked."""

    def claim_cells(self, cell_key: Sequence[Tensor], inverse: Sequence[Tensor]) -> list[Tensor]:
        """Number the cells that the network has looked at.

        Args:
            cell_key: Per level (M_s,) int64, key of any voxel in each cell, each cell once.
            inverse: Per level but the first, (M_{s-1},) int64, cell that holds each finer one.

        Returns:
            Per level the (M_s,) int64 numbers of the cells; -1 where the map holds them no more.
        """
        assert self.cells is not None
        slots = [self.cells.claim(level, key)[0] for level, key in enumerate(cell_key)]
        for level, parent in enumerate(inverse):
            there = slots[level] >= 0
            self.cells.set_parents(level, slots[level][there], slots[level + 1][parent[there]])
        return slots

    def cells_of(self, voxel_key: Tensor) -> Tensor:
        """Return the (M,) int64 sorted numbers of the cells of level 0 that hold voxels."""
        assert self.cells is not None
        cells: Tensor = torch.unique(self.cells.slots(0, voxel_key))
        return cells[cells >= 0]

    def keep_cells(
        self, voxel_key: Tensor, chunk_key: Tensor, kept: Sequence[Tensor]
    ) -> list[Tensor]:
        """Let voxels be in the cells that there are now, and free cells without voxels.

        Args:
            voxel_key: (V,) int64 of all voxels that were looked at.
            chunk_key: (C,) int64 of the chunks that were seen whole.
            kept: Per level the numbers of the cells in them that hold a voxel.

        Returns:
            Per level the numbers that were freed.
        """
        assert self.cells is not None
        chunk = self._index.chunks(chunk_key)
        freed = self.cells.free_others(chunk[chunk >= 0], list(kept))
        seen_whole = self.rows_of_chunks(chunk_key)
        rows = torch.cat([self._index.rows(voxel_key), seen_whole])
        rows = rows[rows >= 0]
        self._rows.cell.all()[rows] = self.cells.nearest(self.key(rows)).int()
        self._rows.is_looked_at.all()[seen_whole] = self.cell(seen_whole) >= 0
        self._surface.count(self._index.blocks_of_chunks(chunk[chunk >= 0]))
        looked_at = self._index.chunks(torch.unique(voxel_key >> CHUNK_SHIFT))
        self._raise_revision(looked_at[looked_at >= 0])
        return freed

    def write_labels(
        self, cell: Tensor, label: Tensor, confidence: Tensor, *, column: int
    ) -> None:
        """Set labels, and mark the blocks in which one changed, or its confidence did by 0.05.

        Args:
            cell: (M,) int64 of level 0, each once.
            label: (M,) uint16.
            confidence: (M,) float in 0..1.
            column: 0 semantic, 1 language.
        """
        assert self.cells is not None
        bits = label.view(torch.int16)
        stored = self.cells.label.all()[:, column]
        stored_confidence = self.cells.confidence.all()[:, column]
        moved = (stored_confidence[cell].float() - confidence).abs() >= _VISIBLE
        changed = (stored[cell] != bits) | moved
        stored[cell], stored_confidence[cell] = bits, confidence.half()
        key = self.cells.key.all()[cell[changed]]
        self._mark_relabelled(torch.unique(key[key != FREE] >> PLACE_BITS))

    def mark_looked_at(self, chunk_key: Tensor) -> None:
        """Take the surface of chunks (C,) for what the network looks at: nothing is dirty."""
        self._surface.mark_clean(self._index.chunks(chunk_key))

    def is_dirty(self, rows: Tensor) -> NDArray[np.bool_]:
        """Return (M,), which rows of the surface the network has not looked at."""
        dirty: NDArray[np.bool_] = (~self._rows.is_looked_at.all()[rows]).cpu().numpy()
        return dirty

    def mark_seen_by_network(self, rows: Tensor) -> None:
        """Take voxels (M,) of the surface for seen; others of their chunks stay dirty."""
        self._note_looks(rows, True)

    def mark_unseen(self, voxel_key: Tensor) -> None:
        """Have the network look at voxels (V,) again, as far as there are such."""
        rows = self._index.rows(voxel_key)
        self._note_looks(rows[rows >= 0], False)

    def _note_looks(self, rows: Tensor, is_looked_at: bool) -> None:
        self._rows.is_looked_at.all()[rows] = is_looked_at
        block = self._index.blocks(torch.unique(self.key(rows) >> PLACE_BITS))
        self._surface.count(block)
        self._raise_revision(torch.unique(self._index.chunk_of_block(block)))

    def _mark_relabelled(self, block_key: Tensor) -> None:
        if len(block_key):
            block = self._index.blocks(block_key)
            self._raise_revision(torch.unique(self._index.chunk_of_block(block)))
            self._revisions.mark(block, self.revision)
