"""Labelled scenes of points alone, for tests."""

import numpy as np

from training.datasets.labelled import LabelledScene
from training.structures import Links


def labelled_scene(coord, segment, color=None, normal=None, name='scene', instance=None):
    """Return a scene without images; colours and normals are zero where not given."""
    return LabelledScene(
        name=name,
        coord=coord,
        color=np.zeros_like(coord) if color is None else color,
        normal=np.zeros_like(coord) if normal is None else normal,
        segment=segment,
        instance=instance,
        images=np.zeros((0, 8, 8, 3), np.uint8),
        tokens=np.zeros((0, 0, 0), np.float16),
        links=Links(point=np.zeros(0, int), image=np.zeros(0, int), patch=np.zeros((0, 2))),
    )


def slab(seed, edge):
    """Return a slab one voxel high, with four points per voxel and two classes."""
    rng = np.random.default_rng(seed)
    coord = rng.uniform(0, 1, (400, 3)).astype(np.float32) * np.float32([1, 1, edge])
    segment = (coord[:, 0] > 0.5).astype(np.int64)
    return labelled_scene(coord, segment, np.full_like(coord, 100), name=f'scene{seed}')
