"""Scores of a segmentation, counted over the raw points of all scenes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """What a confusion matrix says; all values in 0..1.

    Attributes:
        iou: (L,) float64, intersection over union of each class; 0 for one that occurs neither
            in the truth nor in the prediction.
        accuracy: (L,) float64, share of the points of a class that were found; 0 without points.
        num_points: (L,) int64, points of each class in the truth.
        miou: Plain mean of `iou` over all classes, as published: an absent class counts as 0.
        macc: Plain mean of `accuracy` over all classes, as published.
        allacc: Share of the points that were given their class.
        miou_of_present: Mean of `iou` over the classes that occur in the truth.
        macc_of_present: Mean of `accuracy` over the classes that occur in the truth.
    """

    iou: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    num_points: NDArray[np.int64]
    miou: float
    macc: float
    allacc: float
    miou_of_present: float
    macc_of_present: float


class ConfusionMatrix:
    """Counts truth against prediction; intersections and unions are summed over all scenes.

    Attributes:
        counts: (L, L) int64, points by true class (row) and predicted class (column).
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((num_classes, num_classes), dtype=np.int64)

    def add(self, truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
        """Count the raw points of a scene.

        Args:
            truth: (N,) int64 below L; below 0 is ignored.
            predicted: (N,) int64 in 0..L-1.
        """
        size = len(self.counts)
        known = truth >= 0
        cell = truth[known] * size + predicted[known]
        self.counts += np.bincount(cell, minlength=size * size).reshape(size, size)

    def scores(self) -> Scores:
        """Return the scores of all that was counted; zeros if nothing was."""
        hit = np.diag(self.counts).astype(np.float64)
        truth, predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        iou = hit / np.maximum(truth + predicted - hit, 1)
        accuracy = hit / np.maximum(truth, 1)
        present = truth > 0
        return Scores(
            iou=iou,
            accuracy=accuracy,
            num_points=truth,
            miou=float(iou.mean()),
            macc=float(accuracy.mean()),
            allacc=float(hit.sum() / max(truth.sum(), 1)),
            miou_of_present=_mean(iou[present]),
            macc_of_present=_mean(accuracy[present]),
        )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0
