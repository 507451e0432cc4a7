"""Sums what a classifier says of several variants of a scene."""

import torch

from training.datasets.labelled import LabelledScene
from training.evaluation.evaluate import Classifier, VoxelScores
from training.evaluation.scene_augmentation import scene_variants


class VariantsClassifier:
    """The sum of the probabilities of 13 variants, taken at each raw point.

    Args:
        classifier: Judges each variant.

    Source: published testing of the probes, but each voxel is seen once, with the mean of its
        points, instead of as often as its fullest neighbour has points.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def __call__(self, scene: LabelledScene) -> VoxelScores:
        """Return the sum for each point; points stand for voxels."""
        total = torch.zeros(())
        for variant in scene_variants(scene):
            probability, inverse = self._classifier(variant)
            total = total.to(probability) + probability[inverse]
        return VoxelScores(total, torch.arange(len(total), device=total.device))
