"""Finds cells by their coordinates: a hash table in plain torch."""

import torch
from torch import Tensor

from concerto_ros.errors import ConcertoError

_FACTORS = (-7046029254386353131, -4417276706812531889, 1609587929392839161)  # of x, y and z
_MIX = -49064778989728563
_ROOM = 2  # at least so many slots per cell, so that walks stay short


class CellTable:
    """The rows of cells, found in O(1) each, however far apart the cells lie.

    Open addressing: every cell takes the first free slot of a walk that its hash begins, the
    lowest row where several ask at once. All cells walk in step, and so do all queries, so the
    table is the same on every device and a lookup of Q cells takes O(Q) time and memory.

    Args:
        coord: (M, 3) int64, no two rows equal.

    Raises:
        ConcertoError: Two rows are equal.
    """

    def __init__(self, coord: Tensor) -> None:
        self._coord = coord
        self._free = len(coord)  # above all rows, so that any row takes a free slot
        size = 1 << (_ROOM * len(coord)).bit_length()
        self._owner = coord.new_full((size,), self._free)
        slot, step = _walk(coord, size)
        row = torch.arange(len(coord), device=coord.device)
        while len(row):
            asks = self._owner[slot] == self._free
            self._owner.scatter_reduce_(0, slot[asks], row[asks], 'amin')
            owner = self._owner[slot]
            self._refuse_equals(row, owner)
            on = owner != row
            row, step = row[on], step[on]
            slot = (slot[on] + step) & (size - 1)

    def find(self, coord: Tensor) -> Tensor:
        """Return the (Q,) int64 rows of cells (Q, 3) int64; -1 where a cell is absent."""
        size = len(self._owner)
        found = coord.new_full((len(coord),), -1)
        slot, step = _walk(coord, size)
        query = torch.arange(len(coord), device=coord.device)
        while len(query):
            owner = self._owner[slot]
            taken = (owner != self._free).nonzero()[:, 0]
            query, slot, step, owner = query[taken], slot[taken], step[taken], owner[taken]
            is_same = (self._coord[owner] == coord[query]).all(1)
            found[query[is_same]] = owner[is_same]
            on = ~is_same
            query, step = query[on], step[on]
            slot = (slot[on] + step) & (size - 1)
        return found

    def _refuse_equals(self, row: Tensor, owner: Tensor) -> None:
        """Equal cells take the same walk in step, so one meets the other in its slot."""
        is_equal = (self._coord[row] == self._coord[owner]).all(1) & (row != owner)
        if is_equal.any():
            first = int(is_equal.nonzero()[0, 0])
            raise ConcertoError(
                f'rows {int(owner[first])} and {int(row[first])} are the same cell '
                f'{self._coord[row[first]].tolist()}: give each occupied cell once'
            )


def _walk(coord: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the (Q,) first slot and the (Q,) step of each cell; an odd step visits all slots."""
    x, y, z = coord.unbind(1)
    code = x * _FACTORS[0] + y * _FACTORS[1] + z * _FACTORS[2]  # modulo 2 ** 64
    code = (code ^ (code >> 32)) * _MIX
    code = code ^ (code >> 29)
    return code & (size - 1), ((code >> 32) & (size - 1)) | 1
