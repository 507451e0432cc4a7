"""Objects as clusters of voxels that are of one class and near each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.protocol.instances.components import connected_points
from training.protocol.instances.config import InstanceSection


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proposals:
    """P objects that may be in a scene.

    Attributes:
        mask: (P, V) bool, voxels of each.
        label: (P,) int64, class of each.
        score: (P,) float64 in 0..1.
    """

    mask: NDArray[np.bool_]
    label: NDArray[np.int64]
    score: NDArray[np.float64]


def propose(
    label: NDArray[np.int64],
    probability: NDArray[np.float64],
    places: Sequence[NDArray[np.float64]],
    has_objects: NDArray[np.bool_],
    config: InstanceSection,
) -> Proposals:
    """Group voxels into objects.

    Args:
        label: (V,) class of each voxel.
        probability: (V,) of that class.
        places: One or two of (V, 3) [voxels]: where to look for clusters. Of clusters in both
            that overlap, the one with the higher score stays; of equals, that of the first.
        has_objects: (L,) bool, classes that consist of objects.
        config: Radius, least size, overlap.

    Returns:
        In the order of `places`; the score is the mean probability.

    Source: PointGroup, arXiv 2004.01658, without its network for scores.
    """
    sets = [_clusters(label, probability, place, has_objects, config) for place in places]
    kept = [np.arange(len(found.label)) for found in sets]
    if len(sets) > 1:
        kept = [np.flatnonzero(keep) for keep in _strongest(sets[0], sets[1], config.overlap)]
    parts = list(zip(sets, kept, strict=True))
    return Proposals(
        mask=np.concatenate([found.owner == rows[:, None] for found, rows in parts]),
        label=np.concatenate([found.label[rows] for found, rows in parts]),
        score=np.concatenate([found.score[rows] for found, rows in parts]),
    )


class _Clusters(NamedTuple):
    """K clusters without a voxel in common: (V,) owner of each voxel or -1, and (K,) facts."""

    owner: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    size: NDArray[np.int64]


def _clusters(
    label: NDArray[np.int64],
    probability: NDArray[np.float64],
    place: NDArray[np.float64],
    has_objects: NDArray[np.bool_],
    config: InstanceSection,
) -> _Clusters:
    owner = np.full(len(label), -1)
    total = 0
    for name in np.flatnonzero(has_objects):
        rows = np.flatnonzero(label == name)
        group = connected_points(place[rows], config.radius)
        is_large = np.bincount(group) > config.min_voxels
        number = np.where(is_large, np.cumsum(is_large) - 1 + total, -1)
        owner[rows] = number[group]
        total += int(is_large.sum())
    rows = np.flatnonzero(owner >= 0)
    size = np.bincount(owner[rows], minlength=total)
    names = np.zeros(total, dtype=np.int64)
    names[owner[rows]] = label[rows]
    score = np.bincount(owner[rows], probability[rows], minlength=total) / size
    return _Clusters(owner, names, score, size)


def _strongest(
    first: _Clusters, second: _Clusters, overlap: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which clusters of each set have no better rival in the other."""
    num, other = len(first.label), len(second.label)
    shared = np.flatnonzero((first.owner >= 0) & (second.owner >= 0))
    cell = first.owner[shared] * other + second.owner[shared]
    common = np.bincount(cell, minlength=num * other).reshape(num, other)
    rivals = common > overlap * (first.size[:, None] + second.size - common)
    keep, keep_other = np.ones(num, dtype=bool), np.ones(other, dtype=bool)
    for i in np.argsort(-np.concatenate([first.score, second.score]), kind='stable'):
        if i < num and keep[i]:
            keep_other &= ~rivals[i]
        elif i >= num and keep_other[i - num]:
            keep &= ~rivals[:, i - num]
    return keep, keep_other
