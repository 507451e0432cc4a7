"""Which part of a map the network looks at next.

scheduler = WindowScheduler(halo=4, cells_per_chunk=2)
window = scheduler.next(chunks, max_points)      # None: nothing has changed enough
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# A chunk is due when the network has not looked at this share of its surface and a few voxels
# more. Noise makes new cells for a long time, ever fewer of them; so of a chunk that hardly grew
# between two looks, the next takes twice the share, and all come to rest. Measured before a parked
# camera with the noise of a Kinect, asked every 5 frames: 2 looks in 300 frames, none after frame
# 85, and 1.7 % of the points without a label; 7 % with a share of 0.25 from the beginning.
_SHARE, _LARGEST_SHARE = 0.05, 0.4
_GROWN = 1.1  # times the surface at the look before
_FEW = 16
_NEAR = 2.0  # distance at which nearness counts half [m]
_RECENT = 100.0  # frames; age at which recency counts half
_MAX_EXTENT = 5  # chunks, 6.4 m at 2 cm: in windows larger than a room the network errs more


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChunkTable:
    """The chunks of a map that are in memory.

    Attributes:
        key: (K,) int64, each once; decides between what is worth the same.
        submap: (K,) int64.
        place: (K, 3) int64 in the grid of chunks of its submap.
        num_surface: (K,) int64 voxels of the thin surface.
        num_dirty: (K,) int64 of these at which the network has not looked, and removed ones.
        last_seen: (K,) int64 number of the frame that saw it last.
        distance: (K,) float64 from the camera to the middle [m].
    """

    key: Ints
    submap: Ints
    place: Ints
    num_surface: Ints
    num_dirty: Ints
    last_seen: Ints
    distance: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """Chunks that the network is to look at, and how much around them.

    Attributes:
        submap: That they are in.
        interior: (I,) int64 rows of the table: their labels are written. The dirtiest first.
        halo: Cells of the coarsest stage around the interior that the network sees as well.
    """

    submap: int
    interior: Ints
    halo: int


class _Look(NamedTuple):
    """Surface voxels of a chunk when it was looked at, and the share that the next look takes."""

    num_surface: int
    share: float


_NO_LOOK = _Look(0, _SHARE)


class WindowScheduler:
    """Chooses windows.

    It remembers how long chunks have waited, so that none starves, and which of them hardly grew
    between two looks, so that a parked robot comes to rest.

    The same tables in the same sequence give the same windows.

    Args:
        halo: Cells of the coarsest stage around the interior.
        cells_per_chunk: Such cells along the edge of a chunk.
    """

    def __init__(self, *, halo: int, cells_per_chunk: int) -> None:
        self._halo = halo
        self._cells_per_chunk = cells_per_chunk
        self._waited: dict[int, int] = {}  # windows since a chunk is due, by key
        self._looks: dict[int, _Look] = {}  # the newest one at each chunk, by key

    def next(self, chunks: ChunkTable, max_points: int) -> Window | None:
        """Return the most valuable window; None if no chunk is due.

        Args:
            chunks: Of the map.
            max_points: Surface voxels of all chunks with a part in the window. Of a chunk that
                has more by itself, the window is that chunk without halo.
        """
        due = is_due(chunks.num_surface, chunks.num_dirty)
        for row in np.flatnonzero(due):
            share = self._looks.get(int(chunks.key[row]), _NO_LOOK).share
            due[row] = is_due(chunks.num_surface[row], chunks.num_dirty[row], share)
        waited = [self._waited.get(key, 0) for key in chunks.key[due].tolist()]
        value = np.zeros(len(due))
        value[due] = value_of(chunks)[due] * (1 + np.array(waited))
        window = self._around(chunks, value, max_points) if due.any() else None
        taken = due.copy()
        if window is not None:
            taken[window.interior] = False
            self._note_look(chunks.key[window.interior], chunks.num_surface[window.interior])
        self._waited = {key: self._waited.get(key, 0) + 1 for key in chunks.key[taken].tolist()}
        return window

    def _note_look(self, key: Ints, num_surface: Ints) -> None:
        for k, num in zip(key.tolist(), num_surface.tolist(), strict=True):
            last = self._looks.get(k, _NO_LOOK)
            has_grown = num > _GROWN * last.num_surface
            share = _SHARE if has_grown else min(2 * last.share, _LARGEST_SHARE)
            self._looks[k] = _Look(num, share)

    def _around(self, chunks: ChunkTable, value: NDArray[np.float64], max_points: int) -> Window:
        order = np.lexsort((chunks.key, -value))
        seed = order[0]
        local = order[self._is_local(chunks, seed)[order]]  # the seed comes first
        steps = np.abs(chunks.place[local][:, None] - chunks.place[local]).max(2)
        halo = self._largest_halo(steps[0], chunks.num_surface[local], max_points)
        in_reach = steps <= self._reach(halo)
        interior = _grown(
            chunks.place[local], value[local], chunks.num_surface[local], in_reach, max_points
        )
        return Window(
            submap=int(chunks.submap[seed]),
            interior=local[interior],
            halo=halo,
        )

    def _is_local(self, chunks: ChunkTable, seed: np.int64) -> NDArray[np.bool_]:
        """Return (K,), which chunks a window around a seed could touch."""
        steps = np.abs(chunks.place - chunks.place[seed]).max(1)
        near = steps < _MAX_EXTENT + self._reach(self._halo)
        is_local: NDArray[np.bool_] = near & (chunks.submap == chunks.submap[seed])
        return is_local

    def _reach(self, halo: int) -> int:
        """Return how many chunks a halo goes into."""
        return -(-halo // self._cells_per_chunk)

    def _largest_halo(self, steps: Ints, num_surface: Ints, max_points: int) -> int:
        """Return the halo with which the seed fits, as far as chunks are `steps` from it."""
        for halo in range(self._halo, 0, -1):
            if num_surface[steps <= self._reach(halo)].sum() <= max_points:
                return halo
        return 0


def is_due(num_surface: Ints, num_dirty: Ints, share: float = _SHARE) -> NDArray[np.bool_]:
    """Return (K,), at which chunks the network should look: a share of their surface is new."""
    enough = np.minimum(num_surface, share * num_surface + _FEW)
    due: NDArray[np.bool_] = (num_surface > 0) & (num_dirty >= enough)
    return due


def value_of(chunks: ChunkTable) -> NDArray[np.float64]:
    """Return (K,): dirty voxels, up to three times as much if near and seen lately."""
    age = chunks.last_seen.max(initial=0) - chunks.last_seen
    near, recent = 1 / (1 + chunks.distance / _NEAR), 1 / (1 + age / _RECENT)
    value: NDArray[np.float64] = chunks.num_dirty * (1 + near + recent)
    return value


def points_within(seconds: float, points_per_second: float, max_points: int) -> int:
    """Return how many points the network sees within a time, at least 1, at most `max_points`.

    Rounded down to 1, 2 or 5 times a power of ten, so that runs whose measured speeds differ a
    little choose the same windows.
    """
    number = min(seconds * points_per_second, float(max_points))
    if number >= max_points:
        return max_points
    power = 10.0 ** math.floor(math.log10(max(number, 1.0)))
    return int(max(step * power for step in (1, 2, 5) if step * power <= max(number, 1.0)))


def first_points(ring: Ints, is_dirty: NDArray[np.bool_], max_points: int) -> NDArray[np.bool_]:
    """Return (M,), which points of a window that is too large the network sees.

    Args:
        ring: (M,) of each point; the nearest to the interior come first,
        is_dirty: (M,) and of these the dirty ones, so that all have their turn.
        max_points: How many.
    """
    chosen = np.zeros(len(ring), dtype=np.bool_)
    chosen[np.lexsort((~is_dirty, ring))[:max_points]] = True
    return chosen


def _grown(
    place: Ints,
    value: NDArray[np.float64],
    num_surface: Ints,
    in_reach: NDArray[np.bool_],
    max_points: int,
) -> list[int]:
    """Return the rows of the interior: the first one, and neighbours while all fits.

    Args:
        place: (L, 3), by falling value.
        value: (L,), 0: not due.
        num_surface: (L,).
        in_reach: (L, L), which chunks a window touches that holds the other one.
        max_points: As of `WindowScheduler.next`.
    """
    interior, touched = [0], in_reach[0]
    candidates = [int(row) for row in np.flatnonzero(value > 0) if row != 0]
    while True:
        for row in candidates:
            both = touched | in_reach[row]
            is_beside = np.abs(place[interior] - place[row]).max(1).min() == 1
            held = place[[*interior, row]]
            fits = num_surface[both].sum() <= max_points
            if is_beside and fits and np.ptp(held, axis=0).max() < _MAX_EXTENT:
                interior.append(row)
                candidates.remove(row)
                touched = both
                break
        else:
            return interior
