"""The folders that scenes are written to, and the lists of samples."""

import json

import numpy as np
import pytest
from PIL import Image

from concerto_ros.errors import SourceError
from training.datasets.layout import SceneWriter, is_complete, write_split

COORD = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.5]], dtype=np.float32)
COLOR = np.array([[255, 0, 0], [0, 255, 0], [1, 2, 3]], dtype=np.uint8)
NORMAL = np.tile(np.array([0, 0, 1], dtype=np.float32), (3, 1))


def write_scene(root, scene, num_images, split='train'):
    with SceneWriter(root, split, scene) as writer:
        writer.write_cloud(COORD, COLOR, NORMAL, {'segment20': np.array([3, -1, 0])})
        for index in range(num_images):
            writer.write_image(
                f'{index:06d}',
                np.full((6, 8, 3), 40 * index, dtype=np.uint8),
                np.array([[1, 2, index]]),
                np.eye(3),
                np.eye(4),
            )


def test_files_have_the_published_places_and_types(tmp_path):
    write_scene(tmp_path, 'kitchen', 1)
    cloud, images = tmp_path / 'train/kitchen', tmp_path / 'images/train/kitchen'
    dtypes = {path.stem: np.load(path).dtype for path in cloud.iterdir()}
    assert dtypes == {
        'coord': np.float32,
        'color': np.uint8,
        'normal': np.float32,
        'segment20': np.int16,
    }
    assert np.array_equal(np.load(cloud / 'coord.npy'), COORD)
    assert np.load(images / 'correspondence/000000.npy').tolist() == [[1, 2, 0]]
    assert np.load(images / 'correspondence/000000.npy').dtype == np.int32
    assert np.array_equal(np.load(images / 'pose/000000.npy'), np.eye(4))
    with Image.open(images / 'color/000000.jpg') as image:
        assert image.size == (8, 6)


def test_an_image_that_sees_nothing_keeps_the_published_mark(tmp_path):
    with SceneWriter(tmp_path, 'train', 'a') as writer:
        writer.write_cloud(COORD, COLOR, NORMAL, {})
        picture = np.zeros((4, 4, 3), dtype=np.uint8)
        writer.write_image('0', picture, np.zeros((0, 3)), np.eye(3), np.eye(4))
    file = tmp_path / 'images/train/a/correspondence/0.npy'
    assert np.load(file).tolist() == [[-1, -1, -1]]


def test_a_scene_appears_only_when_it_is_whole(tmp_path):
    def fail():
        with SceneWriter(tmp_path, 'train', 'kitchen') as writer:
            writer.write_cloud(COORD, COLOR, NORMAL, {})
            assert not is_complete(tmp_path, 'train', 'kitchen')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not is_complete(tmp_path, 'train', 'kitchen')
    assert [p for p in tmp_path.rglob('*') if p.is_file()] == []
    write_scene(tmp_path, 'kitchen', 1)
    assert is_complete(tmp_path, 'train', 'kitchen')


def test_what_a_killed_run_left_is_replaced(tmp_path):
    write_scene(tmp_path, 'kitchen', 3)
    (tmp_path / 'train/kitchen/coord.npy').unlink()  # as if killed before the cloud was renamed
    stale = tmp_path / '.unfinished/train/kitchen/cloud/old.npy'
    stale.parent.mkdir(parents=True)
    stale.touch()
    write_scene(tmp_path, 'kitchen', 1)
    assert not (tmp_path / 'train/kitchen/old.npy').exists()
    assert len(list((tmp_path / 'images/train/kitchen/color').iterdir())) == 1


def test_four_consecutive_images_are_a_sample(tmp_path):
    write_scene(tmp_path, 'a', 6)
    write_scene(tmp_path, 'b', 0)
    split = json.loads(write_split(tmp_path, 'train', ['a', 'b']).read_text())
    assert list(split) == ['a_0', 'a_1', 'b_0']
    assert split['a_0']['pointclouds'] == split['a_1']['pointclouds'] == 'train/a'
    assert [len(sample['images']) for sample in split.values()] == [4, 2, 0]
    assert split['a_1']['images'][0] == 'images/train/a/color/000004.jpg'
    assert split['a_1']['correspondences'][0] == 'images/train/a/correspondence/000004.npy'


def test_clouds_that_cannot_be_are_refused(tmp_path):
    with SceneWriter(tmp_path, 'train', 'a') as writer:
        with pytest.raises(SourceError, match=r"equally many points.*'color': 2"):
            writer.write_cloud(COORD, COLOR[:2], NORMAL, {})
        with pytest.raises(SourceError, match='at least one'):
            writer.write_cloud(COORD[:0], COLOR[:0], NORMAL[:0], {})
        writer.write_cloud(COORD, COLOR, NORMAL, {})
    with pytest.raises(SourceError, match='has no cloud'), SceneWriter(tmp_path, 'train', 'b'):
        pass


def test_a_split_names_only_complete_scenes(tmp_path):
    with pytest.raises(SourceError, match=r'"missing".*prepare it first'):
        write_split(tmp_path, 'train', ['missing'])
