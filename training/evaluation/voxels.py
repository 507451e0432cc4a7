"""Voxels of a labelled scene."""

import torch
from torch import Tensor

from concerto_ros.model import PreparedCloud, Recipe, lattice_origin, prepare_cloud
from training.datasets.labelled import LabelledScene
from training.structures import IGNORED


def scene_voxels(scene: LabelledScene, recipe: Recipe, device: torch.device) -> PreparedCloud:
    """Return the voxels of a scene, as the node makes them."""
    parts = (scene.coord, scene.color, scene.normal)
    coord, color, normal = (torch.from_numpy(part).to(device) for part in parts)
    return prepare_cloud(coord, color, normal, recipe=recipe)


def voxels_and_origin(
    scene: LabelledScene, voxel_size: float, device: torch.device
) -> tuple[PreparedCloud, Tensor]:
    """Return the voxels of a scene, and where they begin.

    Args:
        scene: Of N points.
        voxel_size: Their edge [m].
        device: Where they are made.

    Returns:
        Voxels of `scene_voxels`, and the (3,) float64 lowest corner of voxel (0, 0, 0) in the
        frame of the scene [m].
    """
    recipe = Recipe(voxel_size=voxel_size)
    origin = lattice_origin(torch.from_numpy(scene.coord).to(device), recipe)
    return scene_voxels(scene, recipe, device), origin


def voxel_label(label: Tensor, inverse: Tensor, num_voxels: int) -> Tensor:
    """Return the most frequent class of each voxel; of equals, the lowest.

    Args:
        label: (N,) int64 of raw points; `IGNORED` has no vote.
        inverse: (N,) int64, voxel of each point.
        num_voxels: V.

    Returns:
        (V,) int64; `IGNORED` where no point has a class.
    """
    known = label != IGNORED
    label, inverse = label[known], inverse[known]
    width = int(label.max()) + 1 if len(label) else 1
    cell, votes = torch.unique(inverse * width + label, return_counts=True)
    voxel, name = cell // width, cell % width
    most = votes.new_zeros(num_voxels).scatter_reduce_(0, voxel, votes, 'amax')
    wins = votes == most[voxel]
    best = torch.full_like(most, width).scatter_reduce_(0, voxel[wins], name[wins], 'amin')
    return torch.where(best == width, IGNORED, best)
