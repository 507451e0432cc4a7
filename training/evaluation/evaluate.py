"""Judges a classifier by all raw points of all validation scenes."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from concerto_ros.errors import SourceError
from concerto_ros.semantics import ClassHead
from training.datasets.labelled import LabelledScene
from training.evaluation.features import FeatureSource
from training.evaluation.metrics import ConfusionMatrix, Scores


class VoxelScores(NamedTuple):
    """What a classifier says of a scene.

    Attributes:
        probability: (V, L) float.
        inverse: (N,) int64, voxel of each raw point.
    """

    probability: Tensor
    inverse: Tensor


class Classifier(Protocol):
    """Anything that finds classes in a scene."""

    def __call__(self, scene: LabelledScene) -> VoxelScores:
        """Return the probability of each class in each voxel."""
        ...


class HeadClassifier:
    """A linear head on a source of features.

    Args:
        source: Of the features.
        head: For features as the source gives them.
    """

    def __init__(self, source: FeatureSource, head: ClassHead) -> None:
        self._source, self._head = source, head

    @torch.no_grad()
    def __call__(self, scene: LabelledScene) -> VoxelScores:
        """Return the probability of each class in each voxel."""
        found = self._source(scene)
        weight, bias = (t.to(found.inverse.device) for t in (self._head.weight, self._head.bias))
        logits = found.features.linear(weight, bias).float()
        return VoxelScores(logits.softmax(1), found.inverse)


def evaluate(classifier: Classifier, scenes: Iterable[LabelledScene], num_classes: int) -> Scores:
    """Return the scores over all scenes; the prediction of a voxel holds for all its points.

    Raises:
        SourceError: No point has a label, or a scene cannot be read.
    """
    matrix = ConfusionMatrix(num_classes)
    for scene in tqdm(scenes, desc='evaluation', disable=None):
        probability, inverse = classifier(scene)
        matrix.add(scene.segment, probability.argmax(1)[inverse].cpu().numpy())
    if not matrix.counts.any():
        raise SourceError('no point of the validation scenes has a label: check data.segment')
    return matrix.scores()
