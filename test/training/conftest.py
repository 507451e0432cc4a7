"""Tiny scenes and settings that tests of training share."""

from pathlib import Path

import numpy as np
import pytest

from training.datasets.layout import SceneWriter, write_split

NUM_POINTS, NUM_IMAGES, SIDE = 600, 2, 32

SMALL = {
    'backbone.size': 'nano',
    'backbone.depths': '1,1,1',
    'backbone.channels': '16,16,32',
    'backbone.heads': '1,1,2',
    'backbone.drop_path': 0.1,
    'data.batch_size': 2,
    'data.num_workers': 0,
    'data.voxel_size': 0.05,
    'views.max_points': 400,
    'augmentation.image': False,
    'distillation.hidden': 32,
    'distillation.embed': 16,
    'distillation.prototypes': 32,
    'distillation.up_cast_level': 1,
    'cross_modal.up_cast_level': 1,
    'cross_modal.image_size': SIDE,
    'run.device': 'cpu',
    'run.precision': 'fp32',
    'run.log_every': 1,
}


def write_scene(root, split, scene, seed):
    """Write a cloud on two walls and images whose pixels see some of its points."""
    rng = np.random.default_rng(seed)
    coord = rng.uniform(0, 2, (NUM_POINTS, 3)).astype(np.float32)
    normal = np.zeros_like(coord)
    for axis, half in enumerate(np.array_split(np.arange(NUM_POINTS), 2)):
        coord[half, axis] = 0
        normal[half, axis] = 1
    with SceneWriter(root, split, scene) as writer:
        segment = (coord[:, 0] > 0).astype(np.int16)
        color = rng.integers(0, 256, coord.shape).astype(np.uint8)
        writer.write_cloud(coord, color, normal, {'segment20': segment})
        for image in range(NUM_IMAGES):
            point = rng.permutation(NUM_POINTS)[:200]
            pixel = rng.integers(0, SIDE, (200, 2))
            writer.write_image(
                f'{image:06d}',
                rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8),
                np.column_stack([pixel, point]),
                np.eye(3),
                np.eye(4),
            )


@pytest.fixture(scope='session')
def tiny_split(tmp_path_factory):
    """Return the list of four tiny scenes; do not change its folder."""
    root = tmp_path_factory.mktemp('scenes')
    names = [f'scene{seed}' for seed in range(4)]
    for seed, name in enumerate(names):
        write_scene(root, 'train', name, seed)
    return write_split(root, 'train', names)


@pytest.fixture
def small_settings(tiny_split):
    """Return settings of a training that takes a moment a step, on points alone."""
    return {**SMALL, 'data.splits': str(tiny_split), 'cross_modal.weight': 0.0}


@pytest.fixture
def root():
    """Return the folder of the checkout."""
    return Path(__file__).resolve().parents[2]
