"""Features of many scenes, read by row without ever being laid into one matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.protocol.level_set import LevelSet


class RowParts:
    """Rows of features in parts, one after the other; laying them together would need them twice.

    Args:
        parts: Of (R, C) each, of one dtype, on the CPU.
    """

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self._parts = tuple(parts)
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, row: Tensor) -> Tensor:
        """Return the (K, C) features of (K,) int64 rows; fastest where rows of a part adjoin."""
        part = torch.bucketize(row, self._ends, right=True)
        numbers, counts = torch.unique_consecutive(part, return_counts=True)
        taken = self._parts[0].new_empty(len(row), self._parts[0].shape[1])
        sizes = counts.tolist()
        places = zip(torch.split(row, sizes), torch.split(taken, sizes), strict=True)
        for number, (rows, place) in zip(numbers.tolist(), places, strict=True):
            start = int(self._ends[number]) - len(self._parts[number])
            torch.index_select(self._parts[number], 0, rows - start, out=place)
        return taken


@dataclass(frozen=True, slots=True, eq=False)
class LevelRows:
    """(K, C) features of some rows on some levels, formed where they are asked for.

    Attributes:
        feat: Of all levels.
        row: (K,) int64, which rows.
        levels: Which levels.
        device: Where they are formed.
    """

    feat: RowParts
    row: Tensor
    levels: LevelSet
    device: torch.device

    def __len__(self) -> int:
        return len(self.row)

    @property
    def shape(self) -> tuple[int, int]:
        """(K, C)."""
        return len(self.row), self.levels.num_channels

    def __getitem__(self, chosen: slice | Tensor) -> Tensor:
        """Return the (R, C) float features of some of the rows."""
        return self.levels.take(self.feat.take(self.row[chosen]).to(self.device))
