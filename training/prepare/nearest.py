"""Nearest rows within a small radius, by a sorted grid.

Apart from `objectives.matching`, which serves GPUs: on whole scenes (100,000 points, one CPU core)
this takes a third to four fifths of its time, as it never holds all pairs at once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NONE = -1
_BITS = 21  # of a packed cell number per axis


def nearest_within(
    query: NDArray[np.float32], reference: NDArray[np.float32], radii: Sequence[float]
) -> NDArray[np.int64]:
    """Find the nearest reference point of each query.

    Args:
        query: (N, 3) float [m].
        reference: (M, 3) float [m].
        radii: Rising; the last is the farthest match, the earlier ones only save time, as a
            match within a smaller radius is the nearest one of all.

    Returns:
        (N,) int64 rows of `reference`; -1 where none is within the radius.
    """
    found = np.full(len(query), NONE, dtype=np.int64)
    for radius in radii:
        left = (found == NONE).nonzero()[0]
        found[left] = _nearest(query[left], reference, radius)
    return found


def _nearest(query: NDArray, reference: NDArray, radius: float) -> NDArray[np.int64]:
    best = np.full(len(query), NONE, dtype=np.int64)
    if len(query) == 0 or len(reference) == 0:
        return best
    origin = np.minimum(query.min(axis=0), reference.min(axis=0))
    cell = ((query - origin) / radius).astype(np.int64) + 1
    key = _packed(((reference - origin) / radius).astype(np.int64) + 1)
    order = key.argsort()
    key = key[order]
    best_distance = np.full(len(query), radius * radius)
    steps = (-1, 0, 1)
    for dx, dy in ((dx, dy) for dx in steps for dy in steps):
        column = _packed(
            cell + np.array([dx, dy, 0])
        )  # three cells along z are neighbours in the order
        start = np.searchsorted(key, column - 1)
        count = np.searchsorted(key, column + 1, side='right') - start
        _improve(query, reference, order, start, count, best, best_distance)
    return best


def _packed(cell: NDArray[np.int64]) -> NDArray[np.int64]:
    packed: NDArray[np.int64] = (cell[:, 0] << 2 * _BITS) | (cell[:, 1] << _BITS) | cell[:, 2]
    return packed


def _improve(
    query: NDArray, reference: NDArray, order: NDArray, start: NDArray, count: NDArray,
    best: NDArray, best_distance: NDArray,
) -> None:  # fmt: skip
    """Take rows `order[start : start + count]` of the reference where they are nearer."""
    asked = count.nonzero()[0]
    if len(asked) == 0:
        return
    count, start = count[asked], start[asked]
    first = count.cumsum() - count
    own = np.arange(len(asked)).repeat(count)
    row = order[start[own] + np.arange(len(own)) - first[own]]
    distance = ((query[asked[own]] - reference[row]) ** 2).sum(axis=1)
    least = np.minimum.reduceat(distance, first)
    pick = (distance == least[own]).nonzero()[0]  # ties: the last one stays
    chosen = np.empty(len(asked), dtype=np.int64)
    chosen[own[pick]] = row[pick]
    nearer = least <= best_distance[asked]
    best[asked[nearer]], best_distance[asked[nearer]] = chosen[nearer], least[nearer]
