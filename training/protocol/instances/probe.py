"""The instance probe as a run uses it: targets, training, proposals, scores."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from concerto_ros.errors import ConfigError
from training.datasets.labelled import LabelledScene
from training.evaluation.class_lists import ClassList
from training.protocol.instances.cluster import Proposals, propose
from training.protocol.instances.config import InstanceSection
from training.protocol.instances.head import InstanceHeads
from training.protocol.instances.rows import InstanceRows, InstanceTargets, voxel_targets
from training.protocol.instances.scores import InstanceScores
from training.protocol.instances.train import train_instances


class VoxelReadings(NamedTuple):
    """What heads say of R voxels.

    Attributes:
        label: (R,) int64, class.
        probability: (R,) float32 of that class.
        offset: (R, 3) float32 [m], to the centre of the object.
    """

    label: Tensor
    probability: Tensor
    offset: Tensor


class InstanceClassifier:
    """Finds objects by trained heads.

    Args:
        heads: For features as the source gives them, in eval mode.
        has_objects: (L,) bool, classes that consist of objects.
        config: Of the clusters.
        voxel_size: Edge length of a voxel [m].
    """

    def __init__(
        self, heads: InstanceHeads, has_objects: Tensor, config: InstanceSection, voxel_size: float
    ) -> None:
        self._heads, self._has_objects = heads, has_objects.numpy()
        self._config, self._voxel_size = config, voxel_size

    @torch.no_grad()
    def read(self, feat: Tensor) -> VoxelReadings:
        """Return what the heads say of (R, C) float features, on the device of the heads."""
        logits, offset = self._heads(feat.float())
        probability, label = logits.softmax(1).max(1)
        return VoxelReadings(label, probability, offset)

    def propose(self, readings: Sequence[VoxelReadings], position: Tensor) -> Proposals:
        """Return what may be objects in a scene.

        Args:
            readings: Of all V voxels, in parts.
            position: (V, 3) float [m] of the voxels.
        """
        parts = zip(*readings, strict=True)
        label, probability, offset = (torch.cat(part).cpu().numpy() for part in parts)
        place = position.cpu().numpy().astype(np.float64)
        shifted = (place + offset) / self._voxel_size
        return propose(
            label,
            probability.astype(np.float64),
            [shifted]
            if self._config.clusters == 'shifted'
            else [shifted, place / self._voxel_size],
            self._has_objects,
            self._config,
        )


class InstanceProbe:
    """Makes all that a run needs of the instance probe.

    Args:
        classes: What is to be told apart.
        config: Heads and clusters.
        voxel_size: Edge length of a voxel [m].
        device: Where to train.

    Raises:
        ConfigError: No class is left that consists of objects.
    """

    def __init__(
        self,
        classes: ClassList,
        config: InstanceSection,
        voxel_size: float,
        device: torch.device,
    ) -> None:
        excluded = {name.strip() for name in config.excluded.split(',')}
        self._has_objects = torch.tensor([name not in excluded for name in classes.names])
        if not self._has_objects.any():
            raise ConfigError('instances.excluded names all classes: leave one in')
        self._classes, self._config = classes, config
        self._voxel_size, self._device = voxel_size, device

    def targets(self, scene: LabelledScene, inverse: Tensor, position: Tensor) -> InstanceTargets:
        """Return what each voxel of a training scene should be told; see `voxel_targets`.

        Raises:
            SourceError: The objects of the scene are not told apart.
        """
        return voxel_targets(scene, inverse, position, self._has_objects)

    def train(self, rows: InstanceRows, seed: int) -> InstanceClassifier:
        """Return what finds objects after training on cached voxels; see `train_instances`.

        Raises:
            ConcertoError: The loss is not finite.
        """
        heads = train_instances(rows, self._classes, self._config, seed, self._device)
        return InstanceClassifier(heads, self._has_objects, self._config, self._voxel_size)

    def scores(self) -> InstanceScores:
        """Return scores of no scene yet."""
        return InstanceScores(self._classes.names, self._has_objects.numpy())
