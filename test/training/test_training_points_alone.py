"""Training on points alone sees the scenes as joint training does, so that the two compare."""

from itertools import islice

import numpy as np
import pytest
import torch

from concerto_ros.config.tree import build
from training.config import TrainingConfig
from training.datasets.layout import SceneWriter, write_split
from training.image_encoders import SmallViT, VitConfig, save_vit
from training.joint_task import JointTask

NUM_POINTS, WIDTH, HEIGHT = 300, 45, 34  # 34 px are no whole number of patches


@pytest.fixture
def wide_split(tmp_path):
    """Return three scenes with three wide images, whose pixels see points from edge to edge."""
    rng = np.random.default_rng(0)
    scenes = ['a', 'b', 'c']
    for scene in scenes:
        with SceneWriter(tmp_path, 'train', scene) as writer:
            coord = rng.uniform(0, 2, (NUM_POINTS, 3))
            color = rng.integers(0, 256, coord.shape)
            writer.write_cloud(coord, color, np.zeros_like(coord), {})
            for image in range(3):
                pixel = rng.integers(0, (WIDTH, HEIGHT), (40, 2))
                point = rng.permutation(NUM_POINTS)[:40]
                writer.write_image(
                    f'{image:06d}', rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8),
                    np.column_stack([pixel, point]), np.eye(3), np.eye(4),
                )  # fmt: skip
    return write_split(tmp_path, 'train', scenes)


@pytest.fixture
def settings(small_settings, wide_split, tmp_path):
    """Return settings of joint training with all augmentation."""
    vit = VitConfig(image_size=32, patch_size=8, channels=8, depth=1, heads=2)
    save_vit(SmallViT(vit), tmp_path / 'vit.safetensors')
    return {
        **small_settings, 'data.splits': str(wide_split), 'data.max_images': 2,
        'views.max_points': 150, 'run.num_steps': 4, 'augmentation.image': True,
        'cross_modal.image_encoder': f'vit:{tmp_path}/vit.safetensors',
    }  # fmt: skip


def batches_of(settings):
    task = JointTask(build(TrainingConfig, settings), torch.device('cpu'))
    return list(islice(task.batches(0), 4))


@pytest.mark.parametrize('is_cached', [False, True])
def test_views_of_a_scene_are_the_same(settings, tmp_path, is_cached):
    joint = {**settings, 'cross_modal.weight': 0.5}
    if is_cached:
        settings['augmentation.image'] = joint['augmentation.image'] = False
        joint['cross_modal.token_cache'] = str(tmp_path / 'tokens')
    with_images, alone = batches_of(joint), batches_of(settings)
    assert with_images[0].num_images == alone[0].num_images == 4
    assert len(with_images[0].link_point) > 0
    for one, two in zip(with_images, alone, strict=True):
        assert (one.names, one.slots) == (two.names, two.slots)
        for name in ('global_points', 'local_points'):
            for part in ('coord', 'grid_coord', 'feat', 'offset'):
                assert torch.equal(
                    getattr(getattr(one, name), part), getattr(getattr(two, name), part)
                )
        for name in ('global_origin', 'local_origin', 'link_point', 'link_image'):
            assert torch.equal(getattr(one, name), getattr(two, name))
