"""VoxelMap: a map of surface voxels whose cost per frame does not grow with its size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from concerto_ros.geometry.rgbd import SurfacePoints
from concerto_ros.mapping import fusion
from concerto_ros.mapping.cell_pyramid import CellLayout, CellPyramid
from concerto_ros.mapping.chunk_index import ChunkIndex
from concerto_ros.mapping.dirty_regions import Revisions
from concerto_ros.mapping.growing import GrowingTensor
from concerto_ros.mapping.thin_surface import ThinSurface
from concerto_ros.mapping.voxel_keys import (
    BLOCK_BITS,
    CHUNK_BITS,
    CHUNK_SHIFT,
    GROUP_BLOCKS,
    MAX_GRID,
    PLACE_BITS,
    pack_blocks,
    pack_chunks,
    pack_voxels,
    submap_of,
    submap_of_chunk,
    unique_voxels,
    unpack_blocks,
    unpack_chunks,
    unpack_voxels,
)
from concerto_ros.mapping.voxel_rows import FREE, ROW_BYTES, TICK, VoxelRows
from concerto_ros.structures import MapCloud

GROUP_VOXELS = GROUP_BLOCKS << BLOCK_BITS  # per edge
CHUNK_VOXELS = 1 << CHUNK_BITS  # per edge
_REACH = MAX_GRID - CHUNK_VOXELS  # so that what lies beside a voxel has a key, too
_IN_CHUNK = (1 << CHUNK_SHIFT) - 1
_VISIBLE = 0.05  # change of a confidence
_ROWS_PER_BLOCK = 32  # at least, on average
_BLOCK_BYTES = 2500


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Cubes of 16 x 16 x 16 voxels.

    Attributes:
        key: (G, 3) int64, cube [key, key + 1) * 16 voxels of its submap.
        submap: (G,) int64.
        revision: (G,) int64, when it changed last.
        num_rows: (G,) int64 surface voxels in it.
        rows: (M,) int64 their rows, group after group.
    """

    key: Tensor
    submap: Tensor
    revision: Tensor
    num_rows: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """Cubes of 64 x 64 x 64 voxels, in the order of their keys.

    Attributes:
        key: (K,) int64.
        grid: (K, 3) int64, cube [grid, grid + 1) * 64 voxels of its submap.
        submap: (K,) int64.
        num_surface: (K,) int64 voxels of the thin surface.
        num_dirty: (K,) int64 of them that the network has not looked at, and removed ones at
            which it had.
        revision: (K,) int64, when something in it changed last.
        last_seen: (K,) float64, when a frame saw it, or it was brought back [s].
    """

    key: Tensor
    grid: Tensor
    submap: Tensor
    num_surface: Tensor
    num_dirty: Tensor
    revision: Tensor
    last_seen: Tensor


class VoxelMap:
    """Voxels in which something was measured, one row each; rows of removed ones are used again.

    What the map says is its thin surface: `surface_rows`, and what is made of them. Voxels lie in
    submaps, each with a frame of its own; coordinates are those in that frame.

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
        self._wanted_ticks = GrowingTensor((), torch.int32, device)  # per chunk
        self._newest_ticks = 0
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
        marks += self._seen_ticks.num_bytes + self._wanted_ticks.num_bytes
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
        if not (low >= -_REACH and high < _REACH):
            in_reach = ((grid >= -_REACH) & (grid < _REACH)).all(1)
            grid, values, weight = grid[in_reach], values[in_reach], weight[in_reach]
        key, voxel = unique_voxels(pack_voxels(grid.long(), submap))
        measured = fusion.mean_per_voxel(values, weight, voxel, len(key))
        row, is_new, block = self._index.add_voxels(key, self._rows.slots)
        self._rows.begin(row[is_new], key[is_new], stamp_ns)
        if self.cells:
            cell = self.cells.slots(0, key[is_new])
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

    def is_worn(self, block: Tensor) -> Tensor:
        """Return (V,) bool, whether a voxel was seen through when blocks were tested last."""
        self._is_worn.grow(self._index.num_blocks)
        return self._is_worn.all()[block]

    def is_surface(self) -> Tensor:
        """Return (N,) bool, which rows are the thin surface; valid until the map changes."""
        self.refresh()
        return self._rows.is_surface.all()

    def surface_rows(self, chunk_key: Tensor | None = None) -> Tensor:
        """Return the (S,) int64 rows of the thin surface.

        Args:
            chunk_key: (C,) int64, only of these chunks, chunk after chunk; None: of all.
        """
        if chunk_key is None:
            return self.is_surface().nonzero()[:, 0]
        rows = self.rows_of_chunks(chunk_key)
        return rows[self.is_surface()[rows]]

    def rows_of_chunks(self, chunk_key: Tensor) -> Tensor:
        """Return the (M,) int64 rows of chunks (C,) that there are, chunk after chunk."""
        chunk = self._index.chunks(chunk_key)
        block = self._index.blocks_of_chunks(chunk[chunk >= 0])
        return self._index.rows_of_blocks(block)[0]

    def holds(self, grid_coord: Tensor, submap: int) -> Tensor:
        """Return (M,) bool, whether there are voxels (M, 3) int64 in a submap."""
        is_held: Tensor = self._index.rows(pack_voxels(grid_coord, submap)) >= 0
        return is_held

    def chunks_of(self, coord: Tensor, submap: int) -> Tensor:
        """Return the (C,) int64 sorted keys of the chunks in which points (N, 3) [m] lie."""
        grid = (coord / (self.voxel_size * CHUNK_VOXELS)).floor().long()
        grid = grid.clamp(-_REACH >> CHUNK_BITS, (_REACH >> CHUNK_BITS) - 1)
        return torch.unique(pack_chunks(grid, submap))

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

    def blocks_near(self, center: Tensor, radius: float, submap: int) -> Tensor:
        """Return the numbers (V,) of the blocks in the chunks near a point.

        Args:
            center: (3,) float [m], in the frame of the submap.
            radius: Of a ball [m]; what of a chunk it touches is returned whole.
            submap: Whose blocks.
        """
        key = self._index.chunk_keys
        grid = unpack_chunks(key)
        low = grid * (CHUNK_VOXELS * self.voxel_size)
        nearest = center.to(low.dtype).clamp(low, low + CHUNK_VOXELS * self.voxel_size)
        is_near = (nearest - center).norm(dim=1) <= radius
        is_near &= submap_of_chunk(key) == submap
        return self._index.blocks_of_chunks(self._index.chunk_numbers[is_near])

    def block_centers(self, block: Tensor) -> Tensor:
        """Return (V, 3) float32 centres of blocks (V,), in the frames of their submaps [m]."""
        edge = self.voxel_size * (1 << BLOCK_BITS)
        return ((unpack_blocks(self._index.block_keys[block]) + 0.5) * edge).float()

    def rows_of_blocks(self, block: Tensor) -> Tensor:
        """Return the (M,) int64 rows in blocks (V,), block after block."""
        return self._index.rows_of_blocks(block)[0]

    def last_seen_ns(self, block: Tensor) -> Tensor:
        """Return (V,) int64, when a frame measured something in blocks (V,) last [ns]."""
        return self._rows.to_ns(self._seen_ticks.all()[block])

    def chunks(self) -> Chunks:
        """Return what there is, chunk by chunk."""
        self.refresh()
        key, number = self._index.chunk_keys, self._index.chunk_numbers
        num_surface, num_dirty = self._surface.of_chunks(number)
        return Chunks(
            key=key,
            grid=unpack_chunks(key),
            submap=submap_of_chunk(key),
            num_surface=num_surface,
            num_dirty=num_dirty,
            revision=self._revisions.of_chunks(number),
            last_seen=self._wanted_ticks.all()[number].double() * TICK,
        )

    def dirt(self, chunk_key: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (1,) voxels of the surface and dirty ones of a chunk, as in `chunks`."""
        self.refresh()
        chunk = self._index.chunks(torch.tensor([chunk_key], device=self.device))
        surface, dirty = self._surface.of_chunks(chunk)
        return surface.cpu().numpy(), dirty.cpu().numpy()

    @property
    def block_size(self) -> float:
        """Edge length of a block [m]."""
        return self.voxel_size * (1 << BLOCK_BITS)

    def key(self, rows: Tensor) -> Tensor:
        """Return (M,) int64 voxel keys of rows."""
        key: Tensor = self._rows.key.all().index_select(0, rows)
        return key

    def submap(self, rows: Tensor) -> Tensor:
        """Return (M,) int64 submaps of rows."""
        return submap_of(self.key(rows))

    def grid_coord(self, rows: Tensor) -> Tensor:
        """Return (M, 3) int64 voxel coordinates of rows."""
        return unpack_voxels(self.key(rows))

    def coord(self, rows: Tensor) -> Tensor:
        """Return (M, 3) float32 mean positions of rows [m]."""
        offset = self._rows.state.all().index_select(0, rows)[:, fusion.OFFSET].float()
        return (self.grid_coord(rows).float() + 0.5 + offset) * self.voxel_size

    def color(self, rows: Tensor) -> Tensor:
        """Return (M, 3) float32 RGB of rows in 0..255."""
        state = self._rows.state.all().index_select(0, rows)
        return state[:, fusion.COLOR].float().clamp(0, 255)

    def normal(self, rows: Tensor) -> Tensor:
        """Return (M, 3) float32 unit normals of rows towards the cameras; zero where unknown."""
        state = self._rows.state.all().index_select(0, rows)
        return functional.normalize(state[:, fusion.NORMAL].float(), dim=1)

    def cell(self, rows: Tensor) -> Tensor:
        """Return (M,) int64 cell of level 0 of rows; -1 where the network has not looked."""
        return self._rows.cell.all()[rows].long()

    def observations(self, rows: Tensor) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """Return (M,) number of views and (M, 2) stamps of the first and the newest one [ns]."""
        num_views = self._rows.num_views.all()[rows]
        return num_views.cpu().numpy(), self._rows.seen_ns(rows).cpu().numpy()

    def labels(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return (M, 2) int16 labels of rows, bits of uint16, and (M, 2) float32 confidences.

        Both are semantic, language; zero where the network has not looked.
        """
        cell = self.cell(rows)
        if self.cells is None or self.cells.length(0) == 0:
            none = torch.zeros(len(rows), 2, device=self.device)
            return none.short(), none
        is_known = (cell >= 0)[:, None]
        cell = cell.clamp(min=0)
        label = torch.where(is_known, self.cells.label.all()[cell], 0)
        return label, torch.where(is_known, self.cells.confidence.all()[cell], 0).float()

    def cloud(self, rows: Tensor) -> MapCloud:
        """Return rows (M,) as arrays of their own."""
        label, confidence = (t.cpu().numpy() for t in self.labels(rows))
        label = label.view(np.uint16)
        return MapCloud(
            coord=self.coord(rows).cpu().numpy(),
            color=self.color(rows).round().byte().cpu().numpy(),
            normal=self.normal(rows).cpu().numpy(),
            label=label[:, 0].copy(),
            confidence=confidence[:, 0].copy(),
            language_label=label[:, 1].copy(),
            language_confidence=confidence[:, 1].copy(),
        )

    def changed_groups(self, since: int) -> Groups:
        """Return the groups in which a block changed after revision `since`, with their surface.

        Args:
            since: 0 for all groups.
        """
        return self.groups(self.changed_group_keys(since))

    def changed_group_keys(self, since: int) -> Tensor:
        """Return the (G,) int64 keys of the groups in which a block changed after `since`."""
        self.refresh()
        key = self._index.block_keys[self._revisions.changed_since(since)]
        return torch.unique(pack_blocks(*_group(key)))

    def groups(self, group_key: Tensor) -> Groups:
        """Return groups by their keys (G,), with their surface; revision 0: evicted."""
        self.refresh()
        group_key = group_key.to(self.device)
        return self._groups(unpack_blocks(group_key), submap_of(group_key << PLACE_BITS))

    def groups_of_chunks(self, chunk_key: Tensor) -> Groups:
        """Return all groups of chunks (C,) that there are, with their surface."""
        self.refresh()
        chunk = self._index.chunks(chunk_key)
        block = self._index.blocks_of_chunks(chunk[chunk >= 0])
        group = torch.unique(pack_blocks(*_group(self._index.block_keys[block])))
        return self._groups(unpack_blocks(group), submap_of(group << PLACE_BITS))

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
        cells = torch.unique(self.cells.slots(0, voxel_key))
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
        self._rows.cell.all()[rows] = self.cells.slots(0, self.key(rows)).int()
        self._rows.is_looked_at.all()[seen_whole] = self.cell(seen_whole) >= 0
        self._surface.count(self._index.blocks_of_chunks(chunk[chunk >= 0]))
        looked_at = self._index.chunks(torch.unique(voxel_key >> CHUNK_SHIFT))
        self._raise_revision(looked_at[looked_at >= 0])
        return freed

    def mark_looked_at(self, chunk_key: Tensor) -> None:
        """Take the surface of chunks (C,) for what the network looks at: nothing is dirty."""
        self._surface.mark_clean(self._index.chunks(chunk_key))

    def is_dirty(self, rows: Tensor) -> NDArray[np.bool_]:
        """Return (M,), which rows of the surface the network has not looked at."""
        dirty: NDArray[np.bool_] = (~self._rows.is_looked_at.all()[rows]).cpu().numpy()
        return dirty

    def mark_seen_by_network(self, rows: Tensor) -> None:
        """Take voxels (M,) of the surface for seen; others of their chunks stay dirty."""
        self._rows.is_looked_at.all()[rows] = True
        block = self._index.blocks(torch.unique(self.key(rows) >> PLACE_BITS))
        self._surface.count(block)
        self._raise_revision(torch.unique(self._index.chunk_of_block(block)))

    def mark_dirty(self, chunk_key: Tensor) -> None:
        """Have the network look at chunks (C,) that there are, as if all were new."""
        chunk = self._index.chunks(chunk_key)
        chunk = chunk[chunk >= 0]
        self._surface.add_dirty(chunk, self._surface.of_chunks(chunk)[0])

    def record(self, chunk_key: int) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return all that there is of a chunk, to be written down.

        Returns:
            Arrays by name, copies; and per level the numbers of its cells, in their order.
        """
        self.refresh()
        key = torch.tensor([chunk_key], device=self.device)
        rows = self.rows_of_chunks(key)
        rows = rows[self.key(rows).argsort()]
        record = {'place': (self.key(rows) & _IN_CHUNK).int(), **self._rows.record(rows)}
        chunk = self._index.chunks(key)
        record['revision'] = self._revisions.of_chunks(chunk)
        record['num_dirty'] = self._surface.of_chunks(chunk)[1]
        if self.cells is None:
            return record, []
        cell = torch.unique(self.cell(rows))
        cells = self.cells.record(chunk_key, cell[cell >= 0])
        record |= {f'cell_{level}': place for level, (_, place) in enumerate(cells)}
        record['label'] = self.cells.label.all()[cells[0][0]]
        record['confidence'] = self.cells.confidence.all()[cells[0][0]]
        return record, [slot for slot, _ in cells]

    def insert(self, chunk_key: int, record: Mapping[str, Tensor]) -> list[Tensor]:
        """Take a chunk that is not there from its record.

        Returns:
            Per level the (M_s,) int64 numbers of its cells, in the order of the record.
        """
        record = {name: value.to(self.device) for name, value in record.items()}
        key = (chunk_key << CHUNK_SHIFT) | record['place'].long()
        row, _, block = self._index.add_voxels(key, self._rows.slots)
        self._rows.begin(row, key)
        self._rows.restore(row, record)
        chunk = self._index.chunks(torch.tensor([chunk_key], device=self.device))
        revision, is_thin = int(record['revision']), self._thinned_revision == self.revision
        self.revision = max(self.revision, revision)
        if is_thin:  # as the record is
            self._thinned_revision = self.revision
        self._revisions.mark(block, revision)
        slots = self._insert_cells(chunk_key, record, row, key)
        self._surface.count(block)
        num_lost = record['num_dirty'] - self._surface.of_chunks(chunk)[1]
        self._surface.add_dirty(chunk, num_lost.clamp(min=0))
        self._mark_restored(block)
        return slots

    def evict(self, chunk_key: int) -> list[Tensor]:
        """Forget a chunk that is kept elsewhere; to readers of changes nothing changes.

        Returns:
            Per level the numbers of the cells that were freed.
        """
        self.refresh()
        key = torch.tensor([chunk_key], device=self.device)
        chunk = self._index.chunks(key)
        block = self._index.blocks_of_chunks(chunk)
        freed = self._free_cells(chunk)
        self._rows.end(self.rows_of_chunks(key))
        self._surface.forget(chunk, block)
        self._revisions.forget(chunk, block)
        self._index.remove_chunk(chunk_key)
        return freed

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
        self._newest_ticks = max(self._newest_ticks, ticks)
        self._want(self._index.chunk_of_block(block))

    def _want(self, chunk: Tensor) -> None:
        self._wanted_ticks.grow(self._index.num_chunks)
        self._wanted_ticks.all()[chunk] = self._newest_ticks

    def _mark_relabelled(self, block_key: Tensor) -> None:
        if len(block_key):
            block = self._index.blocks(block_key)
            self._raise_revision(torch.unique(self._index.chunk_of_block(block)))
            self._revisions.mark(block, self.revision)

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

    def _insert_cells(
        self, chunk_key: int, record: Mapping[str, Tensor], row: Tensor, key: Tensor
    ) -> list[Tensor]:
        if not self.cells:
            return []
        levels = range(self.cells.layout.num_levels)
        keys = [(chunk_key << CHUNK_SHIFT) | record[f'cell_{level}'].long() for level in levels]
        slots = [self.cells.claim(level, keys[level])[0] for level in levels]
        for level in levels[:-1]:
            self.cells.set_parents(level, slots[level], self.cells.slots(level + 1, keys[level]))
        self.cells.label.all()[slots[0]] = record['label']
        self.cells.confidence.all()[slots[0]] = record['confidence']
        cell = self.cells.slots(0, key)
        self._rows.cell.all()[row] = cell.int()
        # Written down while the network looked, its cells may be missing.
        self._rows.is_looked_at.all()[row[cell < 0]] = False
        return slots

    def _groups(self, key: Tensor, submap: Tensor) -> Groups:
        steps = torch.arange(GROUP_BLOCKS, device=self.device)
        children = torch.cartesian_prod(steps, steps, steps)
        of_child = torch.arange(len(key), device=self.device).repeat_interleave(len(children))
        child = (key[:, None] * GROUP_BLOCKS + children).reshape(-1, 3)
        block = self._index.blocks(pack_blocks(child, submap[of_child]))
        group, block = of_child[block >= 0], block[block >= 0]
        rows, _ = self._index.rows_of_blocks(block)
        zeros = torch.zeros(len(key), dtype=torch.int64, device=self.device)
        return Groups(
            key=key,
            submap=submap,
            revision=zeros.scatter_reduce(0, group, self._revisions.of(block), 'amax'),
            num_rows=zeros.index_add(0, group, self._surface.of_blocks(block)),
            rows=rows[self._rows.is_surface.all()[rows]],
        )


def _group(block_key: Tensor) -> tuple[Tensor, Tensor]:
    """Return (V, 3) groups of blocks (V,), and (V,) their submaps."""
    return unpack_blocks(block_key) // GROUP_BLOCKS, submap_of(block_key << PLACE_BITS)
