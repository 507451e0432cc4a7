"""Average precision of objects, as the ScanNet benchmark defines it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_POINTS = 100  # smaller objects and proposals do not count
STRICT = tuple(percent / 100 for percent in range(50, 100, 5))  # least IoU, averaged over


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlaps:
    """P proposals and G true objects of one class in one scene, in raw points.

    Attributes:
        common: (P, G) int64, points of both.
        void: (P,) int64, points of the proposal that belong to no object of any class.
        size: (P,) int64, points of the proposal.
        true_size: (G,) int64, points of the object.
        score: (P,) float64 of the proposal.
    """

    common: NDArray[np.int64]
    void: NDArray[np.int64]
    size: NDArray[np.int64]
    true_size: NDArray[np.int64]
    score: NDArray[np.float64]


class Matches(NamedTuple):
    """What became of the proposals of a class.

    Attributes:
        score: (M,) float64 of those that count.
        is_hit: (M,) bool, found an object that no better one found.
        num_objects: True objects that count, found or not.
    """

    score: NDArray[np.float64]
    is_hit: NDArray[np.bool_]
    num_objects: int


def match(found: Overlaps, least_iou: float) -> Matches:
    """Give proposals to objects, the highest score first.

    A proposal finds an object when their IoU is above `least_iou`. It does not count if it has
    fewer than `LEAST_POINTS` points, finds an object of fewer, or finds none and has more than
    a share of `least_iou` of its points on void or on such small objects.
    """
    counts = found.true_size >= LEAST_POINTS
    iou = found.common / np.maximum(found.size[:, None] + found.true_size - found.common, 1)
    nowhere = found.void + found.common[:, ~counts].sum(axis=1)
    is_void = nowhere > least_iou * found.size
    is_free = counts.copy()
    order = np.argsort(-found.score, kind='stable')
    score, is_hit = [], []
    for i in order[found.size[order] >= LEAST_POINTS]:
        finds = iou[i] > least_iou
        target = np.where(finds & is_free, iou[i], 0.0)
        hit = bool(target.any())
        if hit:
            is_free[target.argmax()] = False
        is_excused = not finds[counts].any() and bool(finds.any() or is_void[i])
        if not is_excused:
            score.append(found.score[i])
            is_hit.append(hit)
    return Matches(np.array(score), np.array(is_hit, dtype=bool), int(counts.sum()))


def average_precision(parts: list[Matches]) -> float:
    """Return the area under precision over recall of all scenes; NaN without an object.

    The curve has a corner at each distinct score, and starts at recall 0 with precision 1;
    between corners it is straight.
    """
    num_objects = sum(part.num_objects for part in parts)
    if num_objects == 0:
        return float('nan')
    score = np.concatenate([part.score for part in parts])
    order = np.argsort(-score, kind='stable')
    hits = np.cumsum(np.concatenate([part.is_hit for part in parts])[order])
    corner = np.flatnonzero(np.diff(score[order], append=-np.inf))
    precision = np.append(1.0, hits[corner] / (corner + 1))
    recall = np.append(0.0, hits[corner] / num_objects)
    return float((np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum())
