"""ChunkIndex: finds the row of a voxel through chunks of 64^3 and blocks of 8^3."""

import torch
from torch import Tensor

from concerto_ros.mapping.growing import GrowingTensor
from concerto_ros.mapping.slots import Slots
from concerto_ros.mapping.voxel_keys import PLACE_BITS, PLACES


class ChunkIndex:
    """A sorted table of chunks; per chunk a dense table of blocks; per block one of rows.

    Chunks and blocks have numbers, which are given out again after `remove_chunk`. Looking up is
    a search among the chunks, of which even a building has a few thousand, and two gathers.

    Args:
        device: Where the tables live.
        reserve: Blocks that are expected at most.
    """

    def __init__(self, device: torch.device | str, reserve: int = 0) -> None:
        self._sorted_key = torch.empty(0, dtype=torch.int64, device=device)
        self._sorted_chunk = torch.empty(0, dtype=torch.int64, device=device)
        self._chunks, self._blocks = Slots(device), Slots(device)
        self._block_of_chunk = GrowingTensor((PLACES,), torch.int32, device, reserve // 16)
        self._block_key = GrowingTensor((), torch.int64, device, reserve)
        self._row_of_block = GrowingTensor((PLACES,), torch.int32, device, reserve)

    @property
    def num_chunks(self) -> int:
        """Numbers of chunks, free ones among them."""
        return self._chunks.length

    @property
    def num_blocks(self) -> int:
        """Numbers of blocks, free ones among them."""
        return self._blocks.length

    @property
    def chunk_keys(self) -> Tensor:
        """(K,) int64 keys of the chunks that there are, sorted."""
        return self._sorted_key

    @property
    def chunk_numbers(self) -> Tensor:
        """(K,) int64 numbers of the same."""
        return self._sorted_chunk

    @property
    def block_keys(self) -> Tensor:
        """(B,) int64 key of each block, by number; of free numbers, any."""
        return self._block_key.all()

    @property
    def num_bytes(self) -> int:
        """Memory of all tables."""
        columns = (self._block_of_chunk, self._block_key, self._row_of_block)
        tables = (self._sorted_key, self._sorted_chunk)
        return sum(c.num_bytes for c in columns) + sum(t.nbytes for t in tables)

    @property
    def num_bytes_used(self) -> int:
        """Memory of the blocks and chunks that there are."""
        of_block = self._block_key.row_bytes + self._row_of_block.row_bytes
        of_chunk = self._block_of_chunk.row_bytes + 16
        return self._blocks.num_used * of_block + self._chunks.num_used * of_chunk

    @property
    def share_used(self) -> float:
        """Share of the numbers of blocks that are not free."""
        return self._blocks.num_used / max(1, self._blocks.length)

    def chunks(self, chunk_key: Tensor) -> Tensor:
        """Return the (U,) int64 numbers of chunk keys; -1 where there is none."""
        if len(self._sorted_key) == 0:
            return torch.full_like(chunk_key, -1)
        place = torch.searchsorted(self._sorted_key, chunk_key)
        place = place.clamp(max=len(self._sorted_key) - 1)
        return torch.where(self._sorted_key[place] == chunk_key, self._sorted_chunk[place], -1)

    def blocks(self, block_key: Tensor) -> Tensor:
        """Return the (U,) int64 numbers of block keys; -1 where there is none."""
        chunk = self.chunks(block_key >> PLACE_BITS)
        return _looked_up(self._block_of_chunk, chunk, block_key)

    def rows(self, voxel_key: Tensor) -> Tensor:
        """Return the (M,) int64 rows of voxel keys (M,); -1 where there is none."""
        return _looked_up(self._row_of_block, self.blocks(voxel_key >> PLACE_BITS), voxel_key)

    def chunk_of_block(self, block: Tensor) -> Tensor:
        """Return the (V,) int64 numbers of the chunks that hold blocks (V,)."""
        chunk_key: Tensor = self._block_key.all()[block] >> PLACE_BITS
        return self.chunks(chunk_key)

    def add_voxels(self, voxel_key: Tensor, rows: Slots) -> tuple[Tensor, Tensor, Tensor]:
        """Find the rows of voxels and give rows to new ones.

        Args:
            voxel_key: (U,) int64, sorted, each once.
            rows: Where rows are taken from.

        Returns:
            row: (U,) int64.
            is_new: (U,) bool.
            block: (V,) int64, numbers of the blocks that hold the voxels.
        """
        block_key, inverse = torch.unique_consecutive(voxel_key >> PLACE_BITS, return_inverse=True)
        block = self._add_blocks(block_key)
        entry = block[inverse] * PLACES + (voxel_key & (PLACES - 1))
        table = self._row_of_block.all().view(-1)
        row = table.index_select(0, entry).long()
        is_new = row < 0
        row[is_new] = rows.take(int(is_new.sum()))
        table[entry] = row.int()
        return row, is_new, block

    def forget_voxels(self, voxel_key: Tensor) -> Tensor:
        """Let voxels (M,) have no row any more; return the numbers (V,) of their blocks."""
        block = self.blocks(voxel_key >> PLACE_BITS)
        entry = block * PLACES + (voxel_key & (PLACES - 1))
        self._row_of_block.all().view(-1)[entry] = -1
        blocks: Tensor = torch.unique(block)
        return blocks

    def rows_of_blocks(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows (M,) int64 in blocks (V,), block after block, and (V,) their counts."""
        table = self._row_of_block.all()[block]
        held = table >= 0
        return table[held].long(), held.sum(1)

    def blocks_of_chunks(self, chunk: Tensor) -> Tensor:
        """Return the numbers (V,) int64 of the blocks in chunks (C,), chunk after chunk."""
        table = self._block_of_chunk.all()[chunk]
        return table[table >= 0].long()

    def remove_chunk(self, chunk_key: int) -> None:
        """Forget a chunk with all its blocks; its rows are not freed here."""
        place = int(torch.searchsorted(self._sorted_key, chunk_key))
        chunk = self._sorted_chunk[place : place + 1].clone()
        self._blocks.free(self.blocks_of_chunks(chunk))
        self._chunks.free(chunk)
        is_left = torch.ones_like(self._sorted_key, dtype=torch.bool)
        is_left[place] = False
        self._sorted_key, self._sorted_chunk = (
            self._sorted_key[is_left],
            self._sorted_chunk[is_left],
        )

    def _add_blocks(self, block_key: Tensor) -> Tensor:
        """Return the numbers of sorted block keys, adding those that are missing."""
        chunk_key, inverse = torch.unique_consecutive(block_key >> PLACE_BITS, return_inverse=True)
        chunk = self._add_chunks(chunk_key)
        entry = chunk[inverse] * PLACES + (block_key & (PLACES - 1))
        table = self._block_of_chunk.all().view(-1)
        block = table.index_select(0, entry).long()
        missing = block < 0
        number = self._blocks.take(int(missing.sum()))
        if len(number) == 0:
            return block
        self._block_key.grow(self._blocks.length)
        self._row_of_block.grow(self._blocks.length)
        self._block_key.all()[number] = block_key[missing]
        self._row_of_block.all()[number] = -1
        block[missing] = number
        table[entry] = block.int()
        return block

    def _add_chunks(self, chunk_key: Tensor) -> Tensor:
        """Return the numbers of sorted chunk keys, adding those that are missing."""
        chunk = self.chunks(chunk_key)
        missing = chunk < 0
        new_key = chunk_key[missing]
        if len(new_key) == 0:
            return chunk
        number = self._chunks.take(len(new_key))
        self._block_of_chunk.grow(self._chunks.length)
        self._block_of_chunk.all()[number] = -1
        chunk[missing] = number
        keys, numbers = (
            torch.cat(pair) for pair in ((self._sorted_key, new_key), (self._sorted_chunk, number))
        )
        order = keys.argsort()
        self._sorted_key, self._sorted_chunk = keys[order], numbers[order]
        return chunk


def _looked_up(table: GrowingTensor, number: Tensor, key: Tensor) -> Tensor:
    """Return what the dense tables (M,) hold at the places of keys (M,); -1 for no table."""
    if len(table) == 0:
        return number
    entry = number.clamp(min=0) * PLACES + (key & (PLACES - 1))
    found = table.all().view(-1).index_select(0, entry).long()
    return torch.where(number >= 0, found, -1)
