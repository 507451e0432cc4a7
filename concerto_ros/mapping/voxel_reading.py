"""VoxelReading: what a map tells of its voxels, blocks, groups and chunks."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from concerto_ros.mapping import fusion
from concerto_ros.mapping.voxel_keys import (
    BLOCK_BITS,
    CHUNK_BITS,
    GROUP_BLOCKS,
    MAX_GRID,
    PLACE_BITS,
    pack_blocks,
    pack_chunks,
    pack_voxels,
    submap_of,
    submap_of_chunk,
    unpack_blocks,
    unpack_chunks,
    unpack_voxels,
)
from concerto_ros.mapping.voxel_tables import VoxelTables
from concerto_ros.structures import MapCloud

GROUP_VOXELS = GROUP_BLOCKS << BLOCK_BITS  # per edge
CHUNK_VOXELS = 1 << CHUNK_BITS  # per edge
REACH = MAX_GRID - CHUNK_VOXELS  # so that what lies beside a voxel has a key, too


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
        last_seen: (K,) int64, number of the frame that saw it last, or at which it was brought
            back.
    """

    key: Tensor
    grid: Tensor
    submap: Tensor
    num_surface: Tensor
    num_dirty: Tensor
    revision: Tensor
    last_seen: Tensor


class VoxelReading(VoxelTables):
    """Readers; what costs more than it returns says so."""

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

    def low_rows(self, submap: int, share: float) -> tuple[Tensor, int]:
        """Return the surface rows of a submap around a height below which a share of them lies.

        The cost grows with the blocks of the submap, not with its voxels.

        Args:
            submap: Of the voxels.
            share: 0..1.

        Returns:
            rows: (M,) int64, those in one layer of blocks; none if the submap has none.
            rank: Of the height among theirs, from 0.
        """
        self.refresh()
        number = self._index.chunk_numbers[submap_of_chunk(self._index.chunk_keys) == submap]
        block = self._index.blocks_of_chunks(number)
        count = self._surface.of_blocks(block)
        layer = unpack_blocks(self._index.block_keys[block])[:, 2]
        order = layer.argsort(stable=True)
        up_to = count[order].cumsum(0)
        if len(block) == 0 or up_to[-1] == 0:
            return block[:0], 0
        rank = int(share * (int(up_to[-1]) - 1))
        reached = layer[order[torch.searchsorted(up_to, rank, right=True)]]
        rows = self.rows_of_blocks(block[layer == reached])
        rows = rows[self._rows.is_surface.all()[rows]]
        return rows, rank - int(count[layer < reached].sum())

    def holds(self, grid_coord: Tensor, submap: int) -> Tensor:
        """Return (M,) bool, whether there are voxels (M, 3) int64 in a submap."""
        is_held: Tensor = self._index.rows(pack_voxels(grid_coord, submap)) >= 0
        return is_held

    def chunks_of(self, coord: Tensor, submap: int) -> Tensor:
        """Return the (C,) int64 sorted keys of the chunks in which points (N, 3) [m] lie."""
        grid = (coord / (self.voxel_size * CHUNK_VOXELS)).floor().long()
        grid = grid.clamp(-REACH >> CHUNK_BITS, (REACH >> CHUNK_BITS) - 1)
        chunk_key: Tensor = torch.unique(pack_chunks(grid, submap))
        return chunk_key

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

    @property
    def block_size(self) -> float:
        """Edge length of a block [m]."""
        return self.voxel_size * (1 << BLOCK_BITS)

    def rows_of_blocks(self, block: Tensor) -> Tensor:
        """Return the (M,) int64 rows in blocks (V,), block after block."""
        return self._index.rows_of_blocks(block)[0]

    def last_seen_ns(self, block: Tensor) -> Tensor:
        """Return (V,) int64, when a frame measured something in blocks (V,) last [ns]."""
        return self._rows.to_ns(self._seen_ticks.all()[block])

    def is_worn(self, block: Tensor) -> Tensor:
        """Return (V,) bool, whether a voxel was seen through when blocks were tested last."""
        self._is_worn.grow(self._index.num_blocks)
        return self._is_worn.all()[block]

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
            last_seen=self._wanted.all()[number],
        )

    def dirt(self, chunk_key: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (1,) voxels of the surface and dirty ones of a chunk, as in `chunks`."""
        self.refresh()
        chunk = self._index.chunks(torch.tensor([chunk_key], device=self.device))
        surface, dirty = self._surface.of_chunks(chunk)
        return surface.cpu().numpy(), dirty.cpu().numpy()

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
        group_key: Tensor = torch.unique(pack_blocks(*_group(key)))
        return group_key

    def groups(self, group_key: Tensor) -> Groups:
        """Return groups by their keys (G,), with their surface; revision 0: evicted."""
        self.refresh()
        group_key = group_key.to(self.device)
        return self._groups(unpack_blocks(group_key), submap_of(group_key << PLACE_BITS))

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
