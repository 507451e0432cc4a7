from dataclasses import replace

import numpy as np
import pytest

from concerto_ros.errors import SourceError
from training.datasets.labelled import read_labelled
from training.datasets.layout import SceneWriter
from training.datasets.split_files import SampleFiles
from training.evaluation.scene_augmentation import augment_scene, scene_variants

INSTANCE = np.array([3, 3, -7, 0], dtype=np.int32)


@pytest.fixture
def files(tmp_path):
    """Return a scene of four points, three of which belong to objects."""
    coord = np.arange(12, dtype=np.float32).reshape(4, 3)
    labels = {'segment20': np.array([0, 5, 5, -1]), 'instance': INSTANCE}
    with SceneWriter(tmp_path, 'train', 'a') as writer:
        writer.write_cloud(coord, np.zeros((4, 3), np.uint8), np.zeros((4, 3)), labels)
    cloud = tmp_path / 'train' / 'a'
    return SampleFiles(name='x/train/a', cloud=cloud, images=(), correspondences=())


def test_the_objects_of_a_scene_are_read(files):
    scene = read_labelled(files, 'segment20')
    assert scene.instance.tolist() == [3, 3, -1, 0]
    assert scene.instance.dtype == np.int64


def test_a_scene_whose_objects_are_not_told_apart_is_read_too(files):
    (files.cloud / 'instance.npy').unlink()
    assert read_labelled(files, 'segment20').instance is None


def test_objects_of_other_points_are_refused(files):
    np.save(files.cloud / 'instance.npy', np.zeros(3, dtype=np.int16))
    with pytest.raises(SourceError, match=r'instance\.npy should hold 4 integers'):
        read_labelled(files, 'segment20')


def test_augmented_points_stay_with_their_objects(files):
    scene = read_labelled(files, 'segment20')
    many = np.arange(100)
    cloud = {'coord': np.zeros((100, 3), np.float32), 'color': np.ones((100, 3), np.float32)}
    scene = replace(scene, **cloud, normal=cloud['coord'], segment=many, instance=many)
    left = augment_scene(scene, np.random.default_rng(0))
    assert 0 < len(left.instance) < 100
    assert left.instance.tolist() == left.segment.tolist()
    assert all(variant.instance is many for variant in scene_variants(scene))
    alone = augment_scene(replace(scene, instance=None), np.random.default_rng(0))
    assert alone.instance is None
