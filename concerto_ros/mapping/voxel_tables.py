"""VoxelTables: what a map is made of, and how it is kept together."""

import torch
from torch import Tensor

from concerto_ros.mapping.cell_pyramid import CellLayout, CellPyramid
from concerto_ros.mapping.chunk_index import ChunkIndex
from concerto_ros.mapping.dirty_regions import Revisions
from concerto_ros.mapping.growing import GrowingTensor
from concerto_ros.mapping.thin_surface import ThinSurface
from concerto_ros.mapping.voxel_rows import ROW_BYTES, VoxelRows

_ROWS_PER_BLOCK = 32  # at least, on average
_BLOCK_BYTES = 2500


class VoxelTables:
    """Rows of voxels, the index that finds them, and marks of what changed.

    Attributes:
        revision: Rises with every change.
        cells: What the network sees; None: there is no network.

    Args:
        voxel_size: Edge length of a voxel [m].
        device: Where the map lives.
        revision: To start from.
        cells: How the network sees the map.
        max_bytes: Memory that the map is expected to need at most; on a CPU, nothing is copied
            while it grows up to that.
        start_ns: Stamp from which others are counted [ns]; None: that of the first frame.
    """

    def __init__(
        self,
        voxel_size: float,
        device: torch.device | str = 'cpu',
        revision: int = 0,
        *,
        cells: CellLayout | None = None,
        max_bytes: int = 1 << 30,
        start_ns: int | None = None,
    ) -> None:
        self.voxel_size = voxel_size
        self.device = torch.device(device)
        self.revision = self._thinned_revision = revision
        num_blocks = max_bytes // (_BLOCK_BYTES + _ROWS_PER_BLOCK * ROW_BYTES)
        self._rows = VoxelRows(device, max_bytes // ROW_BYTES)
        self._rows.start_ns = start_ns
        self._index = ChunkIndex(device, num_blocks)
        self._revisions = Revisions(self._index, device, num_blocks)
        self._surface = ThinSurface(self._rows, self._index, device, num_blocks)
        self._seen_ticks = GrowingTensor((), torch.int32, device, num_blocks)  # per block
        self._is_worn = GrowingTensor((), torch.bool, device, num_blocks)
        self._wanted = GrowingTensor((), torch.int64, device)  # per chunk: number of the frame
        self._num_frames = 0
        self.cells: CellPyramid | None = None
        if cells is not None:
            self.cells = CellPyramid(cells, self._index, device, num_blocks)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def start_ns(self) -> int | None:
        """Stamp from which others are counted [ns]; None before the first frame."""
        return self._rows.start_ns

    @property
    def num_bytes(self) -> dict[str, int]:
        """Memory by layer, with what freed voxels have left to be used again."""
        marks = self._revisions.num_bytes + self._surface.num_bytes
        marks += self._seen_ticks.num_bytes + self._wanted.num_bytes
        marks += self._is_worn.num_bytes
        return {
            'voxels': self._rows.num_bytes,
            'index': self._index.num_bytes + marks,
            'cells': self.cells.num_bytes if self.cells else 0,
        }

    @property
    def free_share(self) -> float:
        """Share that is free of the table that is fullest: of voxels, blocks, or cells."""
        shares = [self._rows.slots.free_share, 1 - self._index.share_used]
        return min([*shares, self.cells.free_share] if self.cells else shares)

    @property
    def num_bytes_used(self) -> int:
        """Memory of what there is, without what freed voxels have left."""
        cells = self.cells.num_bytes_used if self.cells else 0
        marks = sum(self.num_bytes.values()) - self._rows.num_bytes - self._index.num_bytes
        marks -= self.cells.num_bytes if self.cells else 0
        marks = int(marks * self._index.share_used)
        return self._rows.num_bytes_used + self._index.num_bytes_used + marks + cells

    def refresh(self) -> None:
        """Bring the thin surface up to date."""
        if self._thinned_revision == self.revision:
            return
        changed = self._revisions.changed_since(self._thinned_revision)
        flipped = self._surface.refresh(changed)
        if len(flipped):
            self.revision += 1
            self._revisions.mark(flipped, self.revision)
        self._thinned_revision = self.revision

    def _mark_changed(self, block: Tensor) -> None:
        self.revision += 1
        self._revisions.mark(block, self.revision)

    def _mark_restored(self, block: Tensor) -> None:
        """Note that blocks came with the stamps of their voxels, and are wanted now."""
        self._seen_ticks.grow(self._index.num_blocks)
        self._seen_ticks.all()[block] = self._last_ticks(block)
        self._want(self._index.chunk_of_block(block))

    def _mark_seen(self, block: Tensor, stamp_ns: int) -> None:
        self._mark_changed(block)
        self._seen_ticks.grow(self._index.num_blocks)
        ticks = self._rows.ticks(stamp_ns)
        self._seen_ticks.all()[block] = ticks
        self._num_frames += 1
        self._want(self._index.chunk_of_block(block))

    def _want(self, chunk: Tensor) -> None:
        self._wanted.grow(self._index.num_chunks)
        self._wanted.all()[chunk] = self._num_frames

    def _raise_revision(self, chunk: Tensor) -> None:
        """Note that something changed in chunks (C,) that moves no surface."""
        is_thin = self._thinned_revision == self.revision
        self.revision += 1
        self._revisions.mark_chunks(chunk, self.revision)
        if is_thin:
            self._thinned_revision = self.revision

    def _last_ticks(self, block: Tensor) -> Tensor:
        """Return (V,) int32, the newest stamp of a voxel in blocks (V,), as stored."""
        row, num_rows = self._index.rows_of_blocks(block)
        place = torch.arange(len(block), device=block.device).repeat_interleave(num_rows)
        newest = torch.zeros(len(block), dtype=torch.int32, device=block.device)
        ticks = self._rows.seen_ticks.all()[row, 1]
        return newest.scatter_reduce(0, place, ticks, 'amax', include_self=False)

    def _free_cells(self, chunk: Tensor) -> list[Tensor]:
        if self.cells is None:
            return []
        none = torch.empty(0, dtype=torch.int64, device=self.device)
        return self.cells.free_others(chunk, [none] * self.cells.layout.num_levels)
