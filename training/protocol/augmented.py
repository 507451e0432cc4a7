"""Trains linear probes on augmented, cropped scenes, of which features are anew in each step."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from concerto_ros.model import Recipe
from training.datasets.labelled import LabelledScene
from training.evaluation.features import FeatureSource
from training.evaluation.scene_augmentation import augment_scene
from training.evaluation.training_rows import draw_rows
from training.evaluation.voxels import scene_voxels, voxel_label
from training.protocol.config import LinearSection
from training.protocol.level_set import LevelSet
from training.protocol.linear import LinearClassifier, LinearTraining
from training.protocol.progress import followed
from training.structures import IGNORED
from training.views.crop import nearest

_ORDER, _VIEW = 30, 31  # purposes of random numbers
_ROWS = 1 << 15  # of features that are formed at once
_CPU = torch.device('cpu')


class AugmentedCrops:
    """Augmented crops of scenes in steps; each is a function of seed, epoch and scene.

    Args:
        scenes: With labels as the regime leaves them.
        config: Size of a step and of a crop.
        voxel_size: Of which a crop has so many [m].
        seed: Of order and augmentation.
    """

    def __init__(
        self, scenes: Sequence[LabelledScene], config: LinearSection, voxel_size: float, seed: int
    ) -> None:
        self._scenes, self._config, self._seed = scenes, config, seed
        self._recipe = Recipe(voxel_size=voxel_size)

    @property
    def steps_per_epoch(self) -> int:
        """In which each scene is seen once."""
        return math.ceil(len(self._scenes) / self._config.batch_size)

    def batch(self, epoch: int, step: int) -> Iterator[LabelledScene]:
        """Yield the crops of a step of an epoch."""
        size = self._config.batch_size
        order = np.random.default_rng([self._seed, _ORDER, epoch]).permutation(len(self._scenes))
        return (self._crop(int(n), epoch) for n in order[step * size : (step + 1) * size])

    def _crop(self, number: int, epoch: int) -> LabelledScene:
        """Return the points of the voxels nearest to a drawn one."""
        rng = np.random.default_rng([self._seed, _VIEW, epoch, number])
        scene = augment_scene(self._scenes[number], rng)
        prepared = scene_voxels(scene, self._recipe, _CPU)
        coord = prepared.points.coord.numpy().T
        is_near = np.zeros(coord.shape[1], dtype=bool)
        middle = coord[:, rng.integers(coord.shape[1])]
        is_near[nearest(coord, middle, self._config.max_points)] = True
        kept = is_near[prepared.inverse.numpy()]
        return replace(
            scene,
            coord=scene.coord[kept],
            color=scene.color[kept],
            normal=scene.normal[kept],
            segment=scene.segment[kept],
        )


def train_on_scenes(
    source: FeatureSource,
    crops: AugmentedCrops,
    level_sets: Sequence[LevelSet],
    num_classes: int,
    config: LinearSection,
    seed: int,
    device: torch.device,
) -> list[LinearClassifier]:
    """Train a linear map for each set of levels, all on the same features.

    Args:
        source: Of the features of all levels.
        crops: To learn from.
        level_sets: To read.
        num_classes: L.
        config: Epochs, optimiser, and most rows of a crop: its own lattice may find more voxels in
            it, and raw points are more.
        seed: Of weights, and of what is drawn of a crop with more rows.
        device: Where to train.

    Raises:
        ConcertoError: The weights are not finite any more, or a scene cannot be used.
    """
    steps, generator = crops.steps_per_epoch, torch.Generator().manual_seed(seed)
    trainings = [
        LinearTraining(levels.num_channels, num_classes, config, steps, seed, device)
        for levels in level_sets
    ]
    for step in followed(range(config.epochs * steps), 'linear steps'):
        for scene in crops.batch(*divmod(step, steps)):
            for feat, label in _labelled_parts(source, scene, config.max_points, generator):
                for training, levels in zip(trainings, level_sets, strict=True):
                    training.add(levels.take(feat.to(device)), label.to(device))
        for training in trainings:
            training.step()
    return [training.classifier() for training in trainings]


def _labelled_parts(
    source: FeatureSource, scene: LabelledScene, most: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features and labels of at most so many voxels of a scene that have one."""
    found = source(scene)
    segment = torch.from_numpy(scene.segment).to(found.inverse.device)
    label = voxel_label(segment, found.inverse, found.features.num_points)
    rows = draw_rows((label != IGNORED).nonzero()[:, 0].cpu(), most, generator)
    for part in torch.split(rows.to(label.device), _ROWS):
        yield found.features.select(part), label[part]
