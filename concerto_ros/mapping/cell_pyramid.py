"""CellPyramid: the cells that the network sees, level by level, and what they were called.

A cell of level s is a cube of `voxels_per_cell * 2 ** s` voxels along an edge; its borders are
those of chunks, so a cell and all that is above it lie in one chunk. Each cell has a number, by
which features are stored elsewhere.
"""

from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError
from concerto_ros.mapping.chunk_index import ChunkIndex
from concerto_ros.mapping.growing import GrowingTensor
from concerto_ros.mapping.slots import Slots
from concerto_ros.mapping.voxel_keys import (
    BLOCK_BITS,
    CHUNK_BITS,
    CHUNK_SHIFT,
    PLACE_BITS,
)
from concerto_ros.mapping.voxel_rows import FREE

_LOW = (1 << BLOCK_BITS) - 1
_IN_CHUNK = (1 << CHUNK_SHIFT) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLayout:
    """How the network sees a map.

    Attributes:
        voxels_per_cell: Along the edge of a cell of level 0: 1, 2 or 4.
        stride: Cells along the edge of one of the next level: powers of two.

    Raises:
        ConcertoError: A cell of the last level is larger than a chunk.
    """

    voxels_per_cell: int = 1
    stride: tuple[int, ...] = (2, 2, 2, 2)

    def __post_init__(self) -> None:
        if self.edge_bits[-1] > CHUNK_BITS:
            raise ConcertoError(
                f'the network has cells of {1 << self.edge_bits[-1]} voxels, and the map is made '
                f'of chunks of {1 << CHUNK_BITS}: raise map.voxel_size'
            )

    @property
    def num_levels(self) -> int:
        """How many levels there are."""
        return 1 + len(self.stride)

    @property
    def edge_bits(self) -> tuple[int, ...]:
        """Logarithm to base 2 of the edge of a cell in voxels, of each level."""
        edges = accumulate((self.voxels_per_cell, *self.stride), mul)
        return tuple(edge.bit_length() - 1 for edge in edges)


class CellPyramid:
    """Numbers for the cells of all levels; freed ones are given out again.

    Attributes:
        layout: How the network sees the map.
        label: (N, 2) int16 per cell of level 0, semantic and language; bits of uint16.
        confidence: (N, 2) float16 of both labels.
        key: (N,) int64 per cell of level 0, key of a voxel in it; `FREE` for free numbers.

    Args:
        layout: How the network sees the map.
        index: Of the same map.
        device: Where the tables live.
        reserve: Blocks that are expected at most.
    """

    def __init__(
        self,
        layout: CellLayout,
        index: ChunkIndex,
        device: torch.device | str,
        reserve: int = 0,
    ) -> None:
        self.layout = layout
        self._index = index
        self._num_blocks = reserve
        self._levels = [
            _Level(edge_bits, index, device, reserve, self.reserve(level))
            for level, edge_bits in enumerate(layout.edge_bits)
        ]
        self.label = GrowingTensor((2,), torch.int16, device, self.reserve(0))
        self.confidence = GrowingTensor((2,), torch.float16, device, self.reserve(0))
        self.key = GrowingTensor((), torch.int64, device, self.reserve(0))
        self._child = GrowingTensor((), torch.int32, device, self.reserve(0))

    @property
    def num_bytes(self) -> int:
        """Memory of all tables and labels."""
        columns = (self.label, self.confidence, self.key, self._child)
        return sum(c.num_bytes for c in columns) + sum(level.num_bytes for level in self._levels)

    @property
    def num_bytes_used(self) -> int:
        """Memory of the cells that there are."""
        of_cell = sum(c.row_bytes for c in (self.label, self.confidence, self.key))
        of_levels = sum(level.num_bytes_used for level in self._levels)
        return of_levels + self.num_used(0) * of_cell

    @property
    def free_share(self) -> float:
        """Share of the numbers of level 0 that are free."""
        return self._levels[0].slots.free_share

    def length(self, level: int) -> int:
        """Return how many numbers a level has, free ones among them."""
        return self._levels[level].slots.length

    def reserve(self, level: int) -> int:
        """Return how many numbers of a level are expected at most."""
        return self._num_blocks * 64 >> 2 * level

    def num_used(self, level: int) -> int:
        """Return how many cells a level has."""
        return self._levels[level].slots.num_used

    @property
    def parent(self) -> tuple[Tensor, ...]:
        """Of each level but the last, (length(level),) int32 number of the cell above each cell.

        Those of free numbers are 0.
        """
        return tuple(level.parent.all() for level in self._levels[:-1])

    def slots(self, level: int, voxel_key: Tensor) -> Tensor:
        """Return the (M,) int64 numbers of the cells that hold voxels (M,); -1 for none."""
        return self._levels[level].find(voxel_key)

    def nearest(self, voxel_key: Tensor) -> Tensor:
        """Return the (M,) int64 cells of level 0 for voxels (M,); -1 for none.

        Where cells are single voxels, noise makes new ones for ever: a voxel without a cell takes
        one of those beside it, in the same cell of level 1.
        """
        slot = self.slots(0, voxel_key)
        if self.layout.edge_bits[0] > 0 or self.layout.num_levels == 1 or self.length(1) == 0:
            return slot
        above = self.slots(1, voxel_key)
        beside = self._child.all()[above.clamp(min=0)].long()
        return torch.where((slot < 0) & (above >= 0), beside, slot)

    def claim(self, level: int, voxel_key: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of cells, giving some to those that have none.

        Args:
            level: Of the cells.
            voxel_key: (M,) int64, of any voxel in each, each cell once.

        Returns:
            slot: (M,) int64; -1 where the map holds that chunk no more.
            is_new: (M,) bool.
        """
        slot, is_new = self._levels[level].claim(voxel_key)
        if level == 0:
            for column in (self.label, self.confidence):
                column.grow(self.length(0))
                column.all()[slot[is_new]] = 0
            self.key.grow(self.length(0), FREE)
            self.key.all()[slot[is_new]] = voxel_key[is_new]
        return slot, is_new

    def set_parents(self, level: int, slot: Tensor, parent: Tensor) -> None:
        """Tell which cells (M,) of the level above hold cells (M,)."""
        self._levels[level].parent.all()[slot] = parent.int()
        if level == 0:
            self._child.grow(self.length(1))
            self._child.all()[parent] = slot.int()

    def free_others(self, chunk: Tensor, kept: list[Tensor]) -> list[Tensor]:
        """Free all cells of chunks (C,), by number, but some.

        Args:
            chunk: Numbers of chunks.
            kept: Of each level, the numbers of cells that stay.

        Returns:
            Of each level, the numbers (M_s,) that were freed.
        """
        block = self._index.blocks_of_chunks(chunk)
        freed = [
            level.free_others(chunk, block, stays)
            for level, stays in zip(self._levels, kept, strict=True)
        ]
        for column in (self.label, self.confidence):
            column.all()[freed[0]] = 0
        self.key.all()[freed[0]] = FREE
        return freed

    def record(self, chunk_key: int, used: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the cells of a chunk.

        Args:
            chunk_key: Of the chunk.
            used: (M,) int64 numbers of those of level 0 that still hold a voxel.

        Returns:
            Per level the (M,) int64 numbers of its cells and the (M,) int32 places of their
            lowest voxels in the chunk: the low bits of voxel keys.
        """
        chunk = self._index.chunks(torch.tensor([chunk_key], device=used.device))
        block = self._index.blocks_of_chunks(chunk)
        block_key = self._index.block_keys[block]
        records = []
        for level in self._levels:
            slot, place = level.record(chunk, block, block_key)
            stays = torch.isin(slot, used)
            records.append((slot[stays], place[stays]))
            used = torch.unique(level.parent.all()[used]).long()
        return records


class _Level:
    """The cells of one level: dense tables per block if cells are smaller, else per chunk."""

    def __init__(
        self,
        edge_bits: int,
        index: ChunkIndex,
        device: torch.device | str,
        reserve: int,
        num_cells: int,
    ) -> None:
        self._edge_bits = edge_bits
        self._index = index
        self._is_in_block = edge_bits < BLOCK_BITS
        self._bits = (BLOCK_BITS if self._is_in_block else CHUNK_BITS) - edge_bits
        reserve = reserve if self._is_in_block else reserve // 16
        self._table = GrowingTensor((1 << 3 * self._bits,), torch.int32, device, reserve)
        self.slots = Slots(device)
        self.parent = GrowingTensor((), torch.int32, device, num_cells)

    @property
    def num_bytes(self) -> int:
        return self._table.num_bytes + self.parent.num_bytes

    @property
    def num_bytes_used(self) -> int:
        table = int(self._table.num_bytes * self._index.share_used)
        return table + self.slots.num_used * self.parent.row_bytes

    def find(self, voxel_key: Tensor) -> Tensor:
        entry = self._entry(voxel_key)
        if len(self._table) == 0:
            return torch.full_like(entry, -1)
        found = self._table.all().view(-1).index_select(0, entry.clamp(min=0)).long()
        return torch.where(entry >= 0, found, -1)

    def claim(self, voxel_key: Tensor) -> tuple[Tensor, Tensor]:
        entry = self._entry(voxel_key)
        slot = self.find(voxel_key)
        is_new = (slot < 0) & (entry >= 0)
        slot[is_new] = self.slots.take(int(is_new.sum()))
        self._table.all().view(-1)[entry[is_new]] = slot[is_new].int()
        self.parent.grow(self.slots.length)
        return slot, is_new

    def free_others(self, chunk: Tensor, block: Tensor, kept: Tensor) -> Tensor:
        """Free the cells in chunks and their blocks that are not kept; return their numbers."""
        self._grow()
        unit = block if self._is_in_block else chunk
        table = self._table.all()[unit]
        stays = torch.zeros(self.slots.length + 1, dtype=torch.bool, device=table.device)
        stays[kept] = True
        goes = (table >= 0) & ~stays[table.long()]
        freed = table[goes].long()
        table[goes] = -1
        self._table.all()[unit] = table
        self.parent.all()[freed] = 0
        self.slots.free(freed)
        return freed

    def record(self, chunk: Tensor, block: Tensor, block_key: Tensor) -> tuple[Tensor, Tensor]:
        self._grow()
        table = self._table.all()[block if self._is_in_block else chunk]
        unit, entry = (table >= 0).nonzero().unbind(1)
        x, y, z = self._axes(entry)
        if self._is_in_block:
            place = (x << 2 * BLOCK_BITS) | (y << BLOCK_BITS) | z
            place = place | (block_key[unit] << PLACE_BITS)
        else:
            place = torch.zeros_like(x)
            for axis, value in enumerate((x, y, z)):
                shift = (2 - axis) * BLOCK_BITS
                place |= (value >> BLOCK_BITS) << (shift + PLACE_BITS) | (value & _LOW) << shift
        return table[unit, entry].long(), (place & _IN_CHUNK).int()

    def _axes(self, entry: Tensor) -> list[Tensor]:
        """Return x, y and z of the lowest voxels of cells by their place in a table."""
        mask = (1 << self._bits) - 1
        shifts = (2 * self._bits, self._bits, 0)
        return [((entry >> shift) & mask) << self._edge_bits for shift in shifts]

    def _entry(self, voxel_key: Tensor) -> Tensor:
        """Return the (M,) places of cells in the flat table; -1 where there is no such table."""
        self._grow()
        code = torch.zeros_like(voxel_key)
        for shift in (2 * BLOCK_BITS, BLOCK_BITS, 0):
            axis = (voxel_key >> shift) & _LOW
            if not self._is_in_block:
                axis = axis | ((voxel_key >> (shift + PLACE_BITS)) & _LOW) << BLOCK_BITS
            code = (code << self._bits) | (axis >> self._edge_bits)
        if self._is_in_block:
            unit = self._index.blocks(voxel_key >> PLACE_BITS)
        else:
            unit = self._index.chunks(voxel_key >> CHUNK_SHIFT)
        return torch.where(unit >= 0, (unit << 3 * self._bits) | code, -1)

    def _grow(self) -> None:
        num_units = self._index.num_blocks if self._is_in_block else self._index.num_chunks
        self._table.grow(num_units, -1)
