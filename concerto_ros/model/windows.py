"""Attention windows: runs of consecutive rows along a space-filling curve."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

_PART_WINDOWS = 8  # of a part: a cache holds the features of its slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The windows of one stage along one order of its rows.

    Slots are the rows of all windows one after the other: first windows of `size` rows, then
    those of clouds that are shorter than a window, each filled up to `short_size` rows.

    Attributes:
        gather: (P,) int64, row of the cloud in each slot.
        slot: (N,) int64, slot that holds the result of each row of the cloud.
        starts: (R + 1,) int32, first slot of each run of slots that see each other, and P; the
            filling of a short window is a run of its own.
        size: Slots of a full window.
        num_full: Full windows.
        spare: For each full window how many of its first slots no row takes its result from.
        short_size: Slots of a short window; 0 if there are none.
        short_mask: (W, 1, 1, short_size) bool, slots that count as keys; None: all.
    """

    gather: Tensor
    slot: Tensor
    starts: Tensor
    size: int
    num_full: int
    spare: tuple[int, ...]
    short_size: int
    short_mask: Tensor | None

    def along(self, order: Tensor) -> 'Windows':
        """Return these windows over rows taken in another order, (N,) int64 row of each place."""
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        return replace(self, gather=order[self.gather], slot=self.slot[place])

    def parts(self) -> Iterator['Windows']:
        """Cut into parts to be computed one after the other, `slot` counting through all.

        Full windows of one part spare the same number of slots.
        """
        first = 0
        for spare, group in groupby(self.spare):
            end = first + len(list(group))
            for begin in range(first, end, _PART_WINDOWS):
                count = min(_PART_WINDOWS, end - begin)
                yield self._part(begin, count, (spare,) * count)
            first = end
        if self.short_size:
            yield self._part(self.num_full, 0, ())

    def _part(self, first: int, count: int, spare: tuple[int, ...]) -> 'Windows':
        """Return full windows from the given one on, or all the short ones if `count` is zero."""
        begin, end = first * self.size, (first + count) * self.size if count else None
        return replace(
            self,
            gather=self.gather[begin:end],
            starts=self.starts[first : first + count + 1 if count else None] - begin,
            num_full=count,
            spare=spare,
            short_size=0 if count else self.short_size,
            short_mask=None if count else self.short_mask,
        )


def make_windows(counts: list[int], size: int, device: torch.device) -> Windows:
    """Cut clouds into windows along the order of their rows.

    A cloud of at most `size` rows is one window. A longer one is cut every `size` rows; where
    it does not divide, the last window holds the last `size` rows, and only those that no other
    window holds take their result from it.

    Args:
        counts: Rows of each cloud.
        size: Rows of a window.
        device: Where the result lives.
    """
    full = [_cut(start, n, size) for start, n in _spans(counts) if n >= size]
    num_full = sum(len(rows) for rows, _ in full)
    short = [(start, n) for start, n in _spans(counts) if 0 < n < size]
    short_size = max((n for _, n in short), default=0)
    within = torch.arange(short_size)
    gather = [rows.flatten() for rows, _ in full]
    gather += [start + within.clamp(max=n - 1) for start, n in short]
    slot = torch.empty(sum(counts), dtype=torch.int64)
    starts = list(range(0, num_full * size + 1, size))
    first = 0
    for rows, places in full:
        slot[rows[0, 0] : rows[-1, -1] + 1] = first + places
        first += rows.numel()
    for start, n in short:
        slot[start : start + n] = torch.arange(first, first + n)
        starts += [first + n, first + short_size]
        first += short_size
    lengths = torch.tensor([n for _, n in short], dtype=torch.int64)
    mask = within < lengths[:, None, None, None]
    return Windows(
        gather=(torch.cat(gather) if gather else slot).to(device),
        slot=slot.to(device),
        starts=torch.tensor(starts, dtype=torch.int32).to(device),
        size=size,
        num_full=num_full,
        spare=tuple(spare for n in counts if n >= size for spare in _spare(n, size)),
        short_size=short_size,
        short_mask=None if mask.all() else mask.to(device),
    )


def _spans(counts: list[int]) -> list[tuple[int, int]]:
    """Return (first row, number of rows) of each cloud."""
    spans, start = [], 0
    for n in counts:
        spans.append((start, n))
        start += n
    return spans


def _spare(n: int, size: int) -> list[int]:
    """Return how many slots at the start of each window the window before has as well."""
    return [0] * (n // size) + [-n % size] * (n % size > 0)


def _cut(start: int, n: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the (W, size) rows of each window, and the (n,) slot of each row, from 0."""
    num_windows = -(-n // size)
    begins = (torch.arange(num_windows) * size).clamp(max=n - size)
    places = torch.arange(n)
    places[(num_windows - 1) * size :] += num_windows * size - n  # the tail of the last window
    return start + begins[:, None] + torch.arange(size), places
