"""BlockIndex: finds the row of a voxel through blocks of 8 x 8 x 8."""

import torch
from torch import Tensor

from concerto_ros.mapping.growing import GrowingTensor
from concerto_ros.mapping.voxel_keys import PLACE_BITS, PLACES


class BlockIndex:
    """A sorted table of blocks and, per block, a dense table from place to row.

    Blocks are numbered in the order in which they came. Looking up is two gathers, adding blocks
    copies the sorted table only: about 16 bytes for each block there is.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._sorted_key = torch.empty(0, dtype=torch.int64, device=device)
        self._sorted_block = torch.empty(0, dtype=torch.int64, device=device)
        self._key = GrowingTensor((), torch.int64, device)
        self._rows = GrowingTensor((PLACES,), torch.int32, device)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def keys(self) -> Tensor:
        """(B,) int64 key of each block, by number."""
        return self._key.all()

    @property
    def num_bytes(self) -> int:
        """Memory of all tables."""
        columns = (self._key, self._rows)
        tables = (self._sorted_key, self._sorted_block)
        return sum(c.num_bytes for c in columns) + sum(t.nbytes for t in tables)

    def blocks(self, block_key: Tensor) -> Tensor:
        """Return the (U,) int64 numbers of block keys; -1 where there is none."""
        if len(self._sorted_key) == 0:
            return torch.full_like(block_key, -1)
        place = torch.searchsorted(self._sorted_key, block_key)
        place = place.clamp(max=len(self._sorted_key) - 1)
        return torch.where(self._sorted_key[place] == block_key, self._sorted_block[place], -1)

    def add_voxels(self, voxel_key: Tensor, next_row: int) -> tuple[Tensor, Tensor, Tensor]:
        """Find the rows of voxels and give new voxels the next free ones, in order.

        Args:
            voxel_key: (U,) int64, sorted, each once.
            next_row: First free row.

        Returns:
            row: (U,) int64.
            is_new: (U,) bool.
            block: (V,) int64, numbers of the blocks that hold the voxels.
        """
        block_key, inverse = torch.unique_consecutive(voxel_key >> PLACE_BITS, return_inverse=True)
        block = self._add_blocks(block_key)
        cell = block[inverse] * PLACES + (voxel_key & (PLACES - 1))
        table = self._rows.all().view(-1)
        row = table[cell].long()
        is_new = row < 0
        row[is_new] = torch.arange(next_row, next_row + int(is_new.sum()), device=row.device)
        table[cell] = row.int()
        return row, is_new, block

    def rows(self, voxel_key: Tensor) -> Tensor:
        """Return the (M,) int64 rows of voxel keys (M,); -1 where there is none."""
        block = self.blocks(voxel_key >> PLACE_BITS)
        cell = block.clamp(min=0) * PLACES + (voxel_key & (PLACES - 1))
        table = self._rows.all().view(-1)
        return torch.where(block >= 0, table.index_select(0, cell).long(), -1)

    def rows_of_blocks(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows (M,) int64 in blocks (V,), block after block, and (V,) their counts."""
        table = self._rows.all()[block]
        held = table >= 0
        return table[held].long(), held.sum(1)

    def _add_blocks(self, block_key: Tensor) -> Tensor:
        """Return the numbers of sorted block keys, adding those that are missing."""
        block = self.blocks(block_key)
        missing = block < 0
        new_key = block_key[missing]
        if len(new_key) == 0:
            return block
        first = len(self)
        number = torch.arange(first, first + len(new_key), device=block.device)
        self._key.append(new_key)
        self._rows.append(torch.full((1, 1), -1, device=block.device).expand(len(new_key), PLACES))
        block[missing] = number
        # Merge two sorted tables: each entry moves up by the entries of the other before it.
        at_new = torch.searchsorted(self._sorted_key, new_key) + torch.arange(
            len(new_key), device=block.device
        )
        is_old = torch.ones(len(self), dtype=torch.bool, device=block.device)
        is_old[at_new] = False
        self._sorted_key = _merged(self._sorted_key, new_key, is_old)
        self._sorted_block = _merged(self._sorted_block, number, is_old)
        return block


def _merged(old: Tensor, new: Tensor, is_old: Tensor) -> Tensor:
    merged = old.new_empty(len(is_old))
    merged[is_old], merged[~is_old] = old, new
    return merged
