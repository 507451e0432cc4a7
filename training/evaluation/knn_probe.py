"""The k-NN probe: voxels are named by the most similar ones of the training scenes."""

import torch
from torch import Tensor
from torch.nn import functional

from training.datasets.labelled import LabelledScene
from training.evaluation.config import KnnSection
from training.evaluation.evaluate import VoxelScores
from training.evaluation.features import FeatureSource
from training.evaluation.training_rows import (
    TrainingRows,
    measure_scaling,
    no_scaling,
)

_ROWS = 2048  # of voxels that are compared with the memory at once


class KnnClassifier:
    """Lets the k nearest rows of a memory vote, weighted by exp(cosine / temperature).

    Args:
        rows: The memory.
        source: Of the features.
        num_classes: L.
        config: k, temperature and scaling.
        device: Where rows are compared.

    Source: Wu et al., Unsupervised Feature Learning via Non-Parametric Instance
        Discrimination, arXiv 1805.01978, section 3.4.
    """

    def __init__(
        self,
        rows: TrainingRows,
        source: FeatureSource,
        num_classes: int,
        config: KnnSection,
        device: torch.device,
    ) -> None:
        standardize = config.standardize
        width = rows.feat.shape[1]
        self._scaling = measure_scaling(rows.feat) if standardize else no_scaling(width)
        self._memory = functional.normalize(self._scaling(rows.feat.to(device)), dim=1)
        self._label = rows.label.to(device)
        self._source, self._num_classes, self._config = source, num_classes, config

    @torch.no_grad()
    def __call__(self, scene: LabelledScene) -> VoxelScores:
        """Return the share of the votes that each class has in each voxel."""
        found = self._source(scene)
        rows = torch.arange(found.features.num_points, device=found.inverse.device)
        parts = [self._vote(found.features.select(part)) for part in torch.split(rows, _ROWS)]
        return VoxelScores(torch.cat(parts), found.inverse)

    def _vote(self, feat: Tensor) -> Tensor:
        query = functional.normalize(self._scaling(feat), dim=1)
        k = min(self._config.k, len(self._memory))
        cosine, row = (query @ self._memory.t()).topk(k, dim=1)
        weight = (cosine / self._config.temperature).softmax(1)
        votes = weight.new_zeros(len(query), self._num_classes)
        return votes.scatter_add_(1, self._label[row], weight)
