"""Colour, normal and height: what a linear map finds without any learned feature."""

import torch

from concerto_ros.model import Recipe
from training.datasets.labelled import LabelledScene
from training.evaluation.features import DenseFeatures, SceneFeatures
from training.evaluation.voxels import scene_voxels


class RawFeatures:
    """Seven channels: height above the lowest point [m], colour in 0..1, unit normal.

    Args:
        voxel_size: Edge length of a voxel [m].
        device: Where the features are kept.
    """

    name = 'raw'
    num_channels = 7

    def __init__(self, voxel_size: float, device: torch.device) -> None:
        self._recipe = Recipe(voxel_size=voxel_size)
        self._device = device

    def __call__(self, scene: LabelledScene) -> SceneFeatures:
        """Return (V, 7) features of a scene."""
        prepared = scene_voxels(scene, self._recipe, self._device)
        feat = prepared.points.feat[:, 2:]  # without x and y
        return SceneFeatures(features=DenseFeatures(feat), inverse=prepared.inverse)
