"""A third encoder for the protocol: mean height, colour and normal of cells, made by hand."""

import torch

from concerto_ros.model.segment_ops import segment_mean
from training.datasets.labelled import LabelledScene
from training.evaluation.voxels import voxels_and_origin
from training.protocol.hierarchy import Hierarchy, Level


class HandMade:
    """Five levels, from 4 cm to 64 cm; `HierarchicalEncoder` tells what the members mean."""

    name, num_channels, last, facts = 'hand-made', (7,) * 5, 4, {'parameters': 0}

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, scene: LabelledScene) -> Hierarchy:
        """Return the levels of a scene, finest first."""
        (voxels, origin), levels = voxels_and_origin(scene, 0.04, self._device), []
        for stride in (1, 2, 4, 8, 16):
            coord, cell = torch.unique(
                voxels.points.grid_coord // stride, dim=0, return_inverse=True
            )
            feat = segment_mean(voxels.points.feat[:, 2:], cell, len(coord))
            levels.append(Level(name=f'1:{stride}', feat=feat, coord=coord, stride=stride))
        return Hierarchy(levels=tuple(levels), voxel_size=0.04, origin=origin)
