"""Scores of the instance probe over all scenes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.datasets.labelled import LabelledScene
from training.protocol.instances.average_precision import (
    LEAST_POINTS,
    STRICT,
    Overlaps,
    average_precision,
    match,
)
from training.protocol.instances.cluster import Proposals
from training.protocol.instances.rows import known_instances

_LOOSE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InstanceResult:
    """Average precision in 0..1 of the K classes with objects.

    Attributes:
        names: Of the classes.
        ap: (K,) float64, mean over IoU from 0.5 to 0.95 in steps of 0.05; NaN where the truth has
            no object that counts.
        ap50: (K,) float64 at IoU 0.5.
        ap25: (K,) float64 at IoU 0.25.
        num_objects: (K,) int64, true objects that count.
    """

    names: tuple[str, ...]
    ap: NDArray[np.float64]
    ap50: NDArray[np.float64]
    ap25: NDArray[np.float64]
    num_objects: NDArray[np.int64]

    @property
    def map(self) -> float:
        """Mean of `ap` over the classes that occur; NaN if none does."""
        return _mean(self.ap)

    @property
    def map50(self) -> float:
        """Mean of `ap50`."""
        return _mean(self.ap50)

    @property
    def map25(self) -> float:
        """Mean of `ap25`."""
        return _mean(self.ap25)

    def of_classes(self) -> dict[str, dict[str, float | None]]:
        """Return the same by class for a JSON file; None where a class has no object."""
        columns = (self.ap, self.ap50, self.ap25, self.num_objects)
        return {
            name: {
                'ap': _or_none(ap),
                'ap50': _or_none(ap50),
                'ap25': _or_none(ap25),
                'num_objects': count,
            }
            for name, ap, ap50, ap25, count in zip(
                self.names, *(column.tolist() for column in columns), strict=True
            )
        }


class InstanceScores:
    """Compares proposals with the truth in all raw points of all scenes.

    Points of no object of a class that consists of objects are void.

    Args:
        names: Of all L classes.
        has_objects: (L,) bool, classes that consist of objects.
    """

    def __init__(self, names: Sequence[str], has_objects: NDArray[np.bool_]) -> None:
        self._has_objects = has_objects
        self._names = {label: names[label] for label in np.flatnonzero(has_objects).tolist()}
        self._found: dict[int, list[Overlaps]] = {label: [] for label in self._names}

    def add(self, proposals: Proposals, inverse: Tensor, scene: LabelledScene) -> None:
        """Compare in one scene.

        Args:
            proposals: On V voxels.
            inverse: (N,) int64, voxel of each raw point.
            scene: With objects.

        Raises:
            SourceError: The objects of the scene are not told apart.
        """
        number, true_label = self._objects(scene)
        true_size = np.bincount(number[number >= 0], minlength=len(true_label))
        common, void = _common(proposals, inverse.cpu().numpy(), number, len(true_label))
        size = common.sum(axis=1) + void
        for label, found in self._found.items():
            mine, true = proposals.label == label, true_label == label
            found.append(
                Overlaps(
                    common=common[np.ix_(mine, true)],
                    void=void[mine],
                    size=size[mine],
                    true_size=true_size[true],
                    score=proposals.score[mine],
                )
            )

    def result(self) -> InstanceResult:
        """Return the scores over all scenes that were added."""
        strict = np.array([self._each(least_iou) for least_iou in STRICT])
        return InstanceResult(
            names=tuple(self._names.values()),
            ap=strict.mean(axis=0),
            ap50=strict[0],
            ap25=self._each(_LOOSE),
            num_objects=np.array([_num_objects(found) for found in self._found.values()]),
        )

    def _each(self, least_iou: float) -> NDArray[np.float64]:
        """Return (K,) average precision."""
        matches = [[match(part, least_iou) for part in found] for found in self._found.values()]
        return np.array([average_precision(parts) for parts in matches])

    def _objects(self, scene: LabelledScene) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (N,) number of the object of each point or -1, and the (G,) class of each."""
        segment, instance = scene.segment, known_instances(scene)
        known = np.flatnonzero((segment >= 0) & (instance >= 0))
        known = known[self._has_objects[segment[known]]]
        width = len(self._has_objects)
        pair, row = np.unique(instance[known] * width + segment[known], return_inverse=True)
        number = np.full(len(segment), -1)
        number[known] = row
        return number, pair % width


def _common(
    proposals: Proposals, voxel: NDArray[np.int64], number: NDArray[np.int64], num_objects: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (P, G) points that proposals share with objects, and (P,) those with none."""
    counts = np.zeros((len(proposals.label), num_objects + 1), dtype=np.int64)
    for i, mask in enumerate(proposals.mask):
        counts[i] = np.bincount(number[mask[voxel]] + 1, minlength=num_objects + 1)
    return counts[:, 1:], counts[:, 0]


def _num_objects(found: list[Overlaps]) -> int:
    return sum(int((part.true_size >= LEAST_POINTS).sum()) for part in found)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float('nan')


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
