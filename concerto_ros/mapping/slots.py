"""Slots: numbers for things that come and go; freed numbers are given out again."""

import torch
from torch import Tensor

from concerto_ros.mapping.growing import GrowingTensor


class Slots:
    """Numbers 0, 1, 2, ... of which some are free.

    The number freed last is given out first, so the same calls give the same numbers.

    Attributes:
        length: Numbers given out so far, free ones among them: what tables by number must hold.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.length = 0
        self._free = GrowingTensor((), torch.int64, device)

    @property
    def num_used(self) -> int:
        """Numbers that are not free."""
        return self.length - len(self._free)

    @property
    def free_share(self) -> float:
        """Share of the numbers that are free."""
        return len(self._free) / max(1, self.length)

    def take(self, count: int) -> Tensor:
        """Return (count,) int64 numbers that nobody has."""
        num_old = min(count, len(self._free))
        old = self._free.pop(num_old).clone()
        new = torch.arange(
            self.length, self.length + count - num_old, dtype=torch.int64, device=old.device
        )
        self.length += len(new)
        return torch.cat([old, new])

    def free(self, numbers: Tensor) -> None:
        """Take numbers (M,) back, each once."""
        self._free.append(numbers)
