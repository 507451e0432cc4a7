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


class Memory:
    """Rows of which the k most similar to a query vote, weighted by exp(similarity / temperature).

    Args:
        feat: (B, C) float; similarity is the dot product, so unit rows give the cosine.
        label: (B,) int64.
        num_classes: L.
        k: Neighbours that vote; all rows where there are fewer.
        temperature: Of the weights.
    """

    def __init__(
        self, feat: Tensor, label: Tensor, num_classes: int, k: int, temperature: float
    ) -> None:
        self._feat, self._label, self._num_classes = feat, label, num_classes
        self._k, self._temperature = min(k, len(feat)), temperature

    def votes(self, query: Tensor) -> Tensor:
        """Return the (Q, L) shares of the votes for queries (Q, C)."""
        similarity, row = (query @ self._feat.t()).topk(self._k, dim=1)
        weight = (similarity / self._temperature).softmax(1)
        votes = weight.new_zeros(len(query), self._num_classes)
        return votes.scatter_add_(1, self._label[row], weight)


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
        feat = functional.normalize(self._scaling(rows.feat.to(device)), dim=1)
        label = rows.label.to(device)
        self._memory = Memory(feat, label, num_classes, config.k, config.temperature)
        self._source = source

    @torch.no_grad()
    def __call__(self, scene: LabelledScene) -> VoxelScores:
        """Return the share of the votes that each class has in each voxel."""
        found = self._source(scene)
        rows = torch.arange(found.features.num_points, device=found.inverse.device)
        parts = [self._vote(found.features.select(part)) for part in torch.split(rows, _ROWS)]
        return VoxelScores(torch.cat(parts), found.inverse)

    def _vote(self, feat: Tensor) -> Tensor:
        return self._memory.votes(functional.normalize(self._scaling(feat), dim=1))
