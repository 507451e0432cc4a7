"""VoxelRows: what is stored of each voxel, in columns."""

import torch
from torch import Tensor

from concerto_ros.mapping import fusion
from concerto_ros.mapping.growing import GrowingTensor
from concerto_ros.mapping.slots import Slots

NO_CELL = -1
_MAX_VIEWS = 2**15 - 1
_MAX_MISSES = 2**8 - 1
_TICK_NS = 10_000_000  # of the stamps
TICK = 1e-9 * _TICK_NS  # [s]
_MAX_TICKS = 2**31 - 1
FREE = -1  # key of a row that belongs to no voxel

# Columns: type, shape of a row.
_COLUMNS: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
    'key': (torch.int64, ()),
    'state': (torch.float16, (fusion.STATE_WIDTH,)),
    'num_views': (torch.int16, ()),
    'seen_ticks': (torch.int32, (2,)),  # first, last
    'misses': (torch.uint8, ()),  # looks through the voxel since it was measured
    'is_surface': (torch.bool, ()),
    'is_looked_at': (torch.bool, ()),  # the network has looked at its cell
    'cell': (torch.int32, ()),  # of the network, NO_CELL: not looked at
}
ROW_BYTES = sum(
    torch.empty(shape, dtype=dtype).nbytes for dtype, shape in _COLUMNS.values()
)  # memory of a voxel


class VoxelRows:
    """Columns of equal length, one row per voxel; rows of removed voxels are used again.

    Stamps are kept in hundredths of a second since `start_ns`; beyond 248 days they stay where
    they are.

    Attributes:
        slots: Which rows are in use.
        start_ns: Stamp of the first frame [ns].

    Args:
        device: Where the columns live.
        reserve: Voxels that are expected at most.
    """

    key: GrowingTensor
    state: GrowingTensor
    num_views: GrowingTensor
    seen_ticks: GrowingTensor
    misses: GrowingTensor
    is_surface: GrowingTensor
    is_looked_at: GrowingTensor
    cell: GrowingTensor

    def __init__(self, device: torch.device | str, reserve: int = 0) -> None:
        self.slots = Slots(device)
        self.start_ns: int | None = None
        for name, (dtype, shape) in _COLUMNS.items():
            setattr(self, name, GrowingTensor(shape, dtype, device, reserve))

    def __len__(self) -> int:
        return self.slots.num_used

    @property
    def num_bytes(self) -> int:
        """Memory of all columns."""
        return sum(getattr(self, name).num_bytes for name in _COLUMNS)

    @property
    def num_bytes_used(self) -> int:
        """Memory of the voxels that there are."""
        return len(self) * ROW_BYTES

    def begin(self, row: Tensor, key: Tensor, stamp_ns: int = 0) -> None:
        """Let rows (U,) that were just taken be voxels (U,) of which only that is known."""
        for name in _COLUMNS:
            column: GrowingTensor = getattr(self, name)
            column.grow(self.slots.length)
            column.all()[row] = 0
        self.key.all()[row] = key
        self.cell.all()[row] = NO_CELL
        self.seen_ticks.all()[row] = self.ticks(stamp_ns)

    def end(self, row: Tensor) -> None:
        """Free rows (M,)."""
        self.key.all()[row] = FREE
        self.is_surface.all()[row] = False
        self.cell.all()[row] = NO_CELL
        self.slots.free(row)

    def mark_seen(self, row: Tensor, stamp_ns: int) -> None:
        """Count a view of rows (U,), each once."""
        views, seen, stamp = self.num_views.all(), self.seen_ticks.all(), self.ticks(stamp_ns)
        views[row] = (views[row] + 1).clamp_(min=1, max=_MAX_VIEWS)
        self.misses.all()[row] = 0
        old = seen[row]
        old[:, 0].clamp_(max=stamp)
        old[:, 1].clamp_(min=stamp)
        seen[row] = old

    def mark_missed(self, row: Tensor) -> Tensor:
        """Count a look through rows (M,), each once; return how many each has now, (M,) uint8."""
        misses = self.misses.all()
        missed = (misses[row].int() + 1).clamp(max=_MAX_MISSES).byte()
        misses[row] = missed
        return missed

    def seen_ns(self, row: Tensor) -> Tensor:
        """Return (M, 2) int64 stamps of the first and the newest view [ns], to 10 ms."""
        return self.to_ns(self.seen_ticks.all()[row])

    def to_ns(self, ticks: Tensor) -> Tensor:
        """Return stored stamps in ns."""
        return ticks.long() * _TICK_NS + (self.start_ns or 0)

    def ticks(self, stamp_ns: int) -> int:
        """Return a stamp as it is stored."""
        if self.start_ns is None:
            self.start_ns = stamp_ns
        ticks = (stamp_ns - self.start_ns) // _TICK_NS
        return max(-_MAX_TICKS, min(_MAX_TICKS, ticks))

    def record(self, row: Tensor) -> dict[str, Tensor]:
        """Return what is stored of rows (N,), but for their key and cell, as copies."""
        return {name: getattr(self, name).all()[row] for name in STORED}

    def restore(self, row: Tensor, record: dict[str, Tensor]) -> None:
        """Set what `record` returned, for rows (N,)."""
        for name in STORED:
            column = getattr(self, name).all()
            column[row] = record[name].to(column.device)


STORED = tuple(name for name in _COLUMNS if name not in ('key', 'cell'))
