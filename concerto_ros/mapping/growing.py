"""GrowingTensor: rows that can be appended at amortised constant cost."""

import torch
from torch import Tensor

_FIRST_CAPACITY = 1024
_GROWTH = 1.5


class GrowingTensor:
    """A tensor whose first dimension grows; room is kept for half as many rows again.

    Args:
        shape: Of one row.
        dtype: Of the elements.
        device: Where the rows live.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str
    ) -> None:
        self._room = torch.empty((0, *shape), dtype=dtype, device=device)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def num_bytes(self) -> int:
        """Memory, with the room that is kept."""
        return self._room.nbytes

    def all(self) -> Tensor:
        """Return the rows as a view, valid until the next `append`."""
        return self._room[: self._length]

    def append(self, rows: Tensor) -> None:
        """Add rows at the end."""
        length = self._length + len(rows)
        if length > len(self._room):
            capacity = max(length, _FIRST_CAPACITY, int(len(self._room) * _GROWTH))
            room = self._room.new_empty((capacity, *self._room.shape[1:]))
            room[: self._length] = self.all()
            self._room = room
        self._room[self._length : length] = rows
        self._length = length
