"""VoxelRows: what is stored of each voxel, in columns."""

import torch
from torch import Tensor

from concerto_ros.mapping import fusion
from concerto_ros.mapping.growing import GrowingTensor

_MAX_VIEWS = 2**15 - 1
_TICK_NS = 10_000_000  # of the stamps
_MAX_TICKS = 2**31 - 1


class VoxelRows:
    """Columns of equal length, one row per voxel, in the order in which they were first seen.

    Stamps are kept in hundredths of a second since the first frame; beyond 248 days they stay
    where they are.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._start_ns = 0
        self.key = GrowingTensor((), torch.int64, device)
        self.state = GrowingTensor((fusion.STATE_WIDTH,), torch.float16, device)
        self.num_views = GrowingTensor((), torch.int16, device)
        self.seen_ticks = GrowingTensor((2,), torch.int32, device)  # first, last
        self.label = GrowingTensor((2,), torch.int16, device)  # semantic, language; uint16 bits
        self.confidence = GrowingTensor((2,), torch.float16, device)

    def __len__(self) -> int:
        return len(self.key)

    @property
    def num_bytes(self) -> int:
        """Memory of all columns, with the room that is kept for growth."""
        return sum(column.num_bytes for column in self._columns())

    def append(self, key: Tensor, stamp_ns: int) -> None:
        """Add voxels (U,) that nothing is known of but where they are and when they were seen."""
        if len(self) == 0:
            self._start_ns = stamp_ns
        zeros = torch.zeros(1, dtype=torch.int64, device=key.device)
        self.key.append(key)
        for column in self._columns()[1:]:
            column.append(
                zeros.view([1] * column.all().ndim).expand(len(key), *column.all().shape[1:])
            )
        self.seen_ticks.all()[len(self) - len(key) :] = self._ticks(stamp_ns)

    def mark_seen(self, row: Tensor, stamp_ns: int) -> None:
        """Count a view of rows (U,), each once."""
        views = self.num_views.all()
        views[row] = (views[row] + 1).clamp(min=1, max=_MAX_VIEWS)
        seen = self.seen_ticks.all()
        stamp = self._ticks(stamp_ns)
        seen[row, 0] = seen[row, 0].clamp(max=stamp)
        seen[row, 1] = seen[row, 1].clamp(min=stamp)

    def seen_ns(self, row: Tensor) -> Tensor:
        """Return (M, 2) int64 stamps of the first and the newest view [ns], to 10 ms."""
        return self.seen_ticks.all()[row].long() * _TICK_NS + self._start_ns

    def _ticks(self, stamp_ns: int) -> int:
        ticks = (stamp_ns - self._start_ns) // _TICK_NS
        return max(-_MAX_TICKS, min(_MAX_TICKS, ticks))

    def _columns(self) -> tuple[GrowingTensor, ...]:
        return (
            self.key, self.state, self.num_views, self.seen_ticks, self.label, self.confidence,
        )  # fmt: skip
