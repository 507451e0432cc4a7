"""What was trained, and how it is judged while validation scenes pass once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from concerto_ros.errors import SourceError
from training.datasets.labelled import LabelledScene
from training.evaluation.features import FeatureSource, SceneFeatures
from training.evaluation.metrics import ConfusionMatrix
from training.protocol.instances.probe import InstanceClassifier, VoxelReadings
from training.protocol.instances.scores import InstanceScores
from training.protocol.level_set import LevelSet
from training.protocol.progress import followed
from training.protocol.rows import voxel_places

_ROWS = 1 << 14  # of features of a scene that are formed at once
Outcome = tuple[Mapping[str, float], Mapping[str, Mapping[str, Any]]]  # means, and by class


class Evaluator(Protocol):
    """Judges something trained by one validation scene after the other."""

    def look(self, feat: Tensor) -> None:
        """Take the next (R, sum C) features of all levels of the scene that passes."""

    def end_scene(self, scene: LabelledScene, found: SceneFeatures) -> None:
        """Take the truth of the scene that passed."""

    def outcome(self) -> Outcome:
        """Return scores in 0..1 by name, and those of each class."""
        ...


class SegmentationEvaluator:
    """Counts what a classifier says of each raw point: what it says of the point's voxel.

    Args:
        classifier: From (R, C) features to (R,) int64 classes.
        levels: That it reads.
        names: Of the classes.
    """

    def __init__(
        self, classifier: Callable[[Tensor], Tensor], levels: LevelSet, names: Sequence[str]
    ) -> None:
        self._classifier, self._levels, self._names = classifier, levels, names
        self._matrix = ConfusionMatrix(len(names))
        self._predicted: list[Tensor] = []

    def look(self, feat: Tensor) -> None:
        """Classify the next features."""
        self._predicted.append(self._classifier(self._levels.take(feat)))

    def end_scene(self, scene: LabelledScene, found: SceneFeatures) -> None:
        """Count the points of the scene."""
        predicted = torch.cat(self._predicted)
        self._matrix.add(scene.segment, predicted[found.inverse].cpu().numpy())
        self._predicted = []

    def outcome(self) -> Outcome:
        """Return mIoU and the like.

        Raises:
            SourceError: No point had a label.
        """
        if not self._matrix.counts.any():
            raise SourceError('no point of the validation scenes has a label: check data.segment')
        scores = self._matrix.scores()
        means = ('miou', 'miou_of_present', 'macc', 'macc_of_present', 'allacc')
        columns = zip(
            self._names,
            *(column.tolist() for column in (scores.iou, scores.accuracy, scores.num_points)),
            strict=True,
        )
        classes = {n: {'iou': i, 'accuracy': a, 'num_points': p} for n, i, a, p in columns}
        return {name: getattr(scores, name) for name in means}, classes


class InstanceEvaluator:
    """Compares the objects that a classifier proposes with the true ones.

    Args:
        classifier: Finds them.
        levels: That it reads.
        scores: Of no scene yet.
    """

    def __init__(
        self, classifier: InstanceClassifier, levels: LevelSet, scores: InstanceScores
    ) -> None:
        self._classifier, self._levels, self._scores = classifier, levels, scores
        self._predicted: list[VoxelReadings] = []

    def look(self, feat: Tensor) -> None:
        """Read classes and offsets of the next features; objects are found in whole scenes."""
        self._predicted.append(self._classifier.read(self._levels.take(feat)))

    def end_scene(self, scene: LabelledScene, found: SceneFeatures) -> None:
        """Find the objects of the scene, and compare."""
        place = voxel_places(scene, found.inverse, found.features.num_points)
        proposals = self._classifier.propose(self._predicted, place)
        self._scores.add(proposals, found.inverse, scene)
        self._predicted = []

    def outcome(self) -> Outcome:
        """Return average precision; NaN where the truth has no object."""
        result = self._scores.result()
        means = {name: getattr(result, name) for name in ('map', 'map50', 'map25')}
        return means, result.of_classes()


@torch.no_grad()
def pass_scenes(
    source: FeatureSource, scenes: Sequence[LabelledScene], evaluators: Sequence[Evaluator]
) -> None:
    """Ask a source once about each scene, and show it to every evaluator.

    Raises:
        ConcertoError: What the source gives cannot be used.
        SourceError: A scene cannot be read.
    """
    for scene in followed(scenes, 'validation scenes'):
        found = source(scene)
        rows = torch.arange(found.features.num_points, device=found.inverse.device)
        for part in torch.split(rows, _ROWS):
            feat = found.features.select(part)
            for evaluator in evaluators:
                evaluator.look(feat)
        for evaluator in evaluators:
            evaluator.end_scene(scene, found)
