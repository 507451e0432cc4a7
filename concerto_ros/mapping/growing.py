"""GrowingTensor: rows that can be added without copying those that are there."""

import math
import mmap
import sys

import torch
from torch import Tensor

_MAP_NORESERVE = 0x4000  # Linux; the module mmap does not name it
_FIRST_CAPACITY = 1024
_GROWTH = 1.5


class GrowingTensor:
    """A tensor whose first dimension grows.

    On a CPU, addresses for `reserve` rows are taken at once: the system hands out memory only
    where it is written to, so rows that do not exist cost nothing, and no row is ever moved.
    Beyond these, where the system grants none, and on other devices, which copy a gigabyte in a
    millisecond, room is kept for half as many rows again.

    Args:
        shape: Of one row.
        dtype: Of the elements.
        device: Where the rows live.
        reserve: Rows that are expected at most.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device | str,
        reserve: int = 0,
    ) -> None:
        self._room = torch.empty((0, *shape), dtype=dtype, device=device)
        if reserve and self._room.is_cpu:
            self._room = _reserved((reserve, *shape), dtype)
        self._is_reserved = len(self._room) > 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def num_bytes(self) -> int:
        """Memory: of the rows that there are, and of room that the system has handed out."""
        rows = self._length if self._is_reserved else len(self._room)
        return rows * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """Memory of a row."""
        return math.prod(self._room.shape[1:]) * self._room.element_size()

    def all(self) -> Tensor:
        """Return the rows as a view, valid until it grows."""
        return self._room[: self._length]

    def append(self, rows: Tensor) -> None:
        """Add rows at the end."""
        length = self._length + len(rows)
        self._make_room(length)
        self._room[self._length : length] = rows
        self._length = length

    def grow(self, length: int, value: float = 0) -> None:
        """Add rows of one value until there are `length`; nothing if there are."""
        if length > self._length:
            self._make_room(length)
            self._room[self._length : length] = value
            self._length = length

    def pop(self, count: int) -> Tensor:
        """Take the last rows, as a view that is valid until others are added."""
        self._length -= count
        return self._room[self._length : self._length + count]

    def _make_room(self, length: int) -> None:
        if length > len(self._room):
            capacity = max(length, _FIRST_CAPACITY, int(len(self._room) * _GROWTH))
            room = self._room.new_empty((capacity, *self._room.shape[1:]))
            room[: self._length] = self.all()
            self._room, self._is_reserved = room, False


def _reserved(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a tensor that takes memory only where it is written to; empty if there is no such.

    The system must not count it as memory that will be needed, or processes could not fork.
    """
    empty = torch.empty((0, *shape[1:]), dtype=dtype)
    num_bytes = math.prod(shape) * empty.element_size()
    if not sys.platform.startswith('linux') or num_bytes == 0:
        return empty
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    try:
        memory = mmap.mmap(-1, num_bytes, flags=flags)
    except OSError:  # a limit on addresses
        return empty
    return torch.frombuffer(memory, dtype=dtype).view(shape)
