"""The folders that scenes are written to, and the lists of samples."""

import json

import numpy as np
import pytest
from PIL import Image

from concerto_ros.errors import SourceError
from training.datasets.layout import SceneWriter, is_complete, read_split, write_split

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


def test_a_split_is_read_as_it_was_written(tmp_path):
    root = tmp_path / 'rooms'
    write_scene(root, 'a', 5)
    write_scene(root, 'b', 0)
    first, second, empty = read_split(write_split(root, 'train', ['a', 'b']))
    assert first.name == 'rooms/train/a_0'
    assert first.cloud == second.cloud == root / 'train/a'
    assert second.images == (root / 'images/train/a/color/000004.jpg',)
    assert second.correspondences == (root / 'images/train/a/correspondence/000004.npy',)
    assert (empty.name, empty.images, empty.correspondences) == ('rooms/train/b_0', (), ())


@pytest.mark.parametrize('folder', ['scannet', 'unpacked_elsewhere'])
def test_paths_of_published_lists_are_found_under_the_root(tmp_path, folder):
    root = tmp_path / folder
    write_scene(root, 'scene0', 1)
    path = root / 'splits/train.json'
    path.parent.mkdir()
    beginning = 'data/scannet'
    sample = {
        'pointclouds': f'{beginning}/train/scene0',
        'images': [f'{beginning}/images/train/scene0/color/000000.jpg'],
        'correspondences': [f'{beginning}/images/train/scene0/correspondence/000000.npy'],
    }
    gone = {**sample, 'pointclouds': f'{beginning}/train/gone'}
    path.write_text(json.dumps({'gone_0': gone, 'scene0_0': sample}))
    files = read_split(path)[1]
    assert files.cloud == root / 'train/scene0'
    assert files.images[0].is_file()
    assert files.correspondences[0].is_file()


def test_published_paths_may_count_from_the_current_folder(tmp_path, monkeypatch):
    write_scene(tmp_path / 'data/scannet', 'scene0', 0)
    path = tmp_path / 'elsewhere/splits/all.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({'scene0_0': {'pointclouds': 'data/scannet/train/scene0'}}))
    monkeypatch.chdir(tmp_path)
    assert (read_split(path)[0].cloud / 'coord.npy').is_file()


def test_equal_names_of_two_data_sets_stay_apart(tmp_path):
    for root in ('one', 'two'):
        write_scene(tmp_path / root, 'room', 0)
        write_split(tmp_path / root, 'train', ['room'])
    names = [read_split(tmp_path / root / 'splits/train.json')[0].name for root in ('one', 'two')]
    assert names == ['one/train/room_0', 'two/train/room_0']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'can be read'),
        ('[]', 'should map names of samples'),
        ('{"a_0": {"images": []}}', 'sample "a_0" should name a folder'),
        ('{"a_0": {"pointclouds": "train/a", "images": ["x.jpg"]}}', 'found 0 and 1'),
        ('{"a_0": {"pointclouds": "train/a"}}', 'none of them is there.*unpack them'),
    ],
)
def test_lists_that_cannot_be_are_refused(tmp_path, text, message):
    path = tmp_path / 'splits/train.json'
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_split(path)


def test_a_missing_list_is_told(tmp_path):
    with pytest.raises(SourceError, match=r'train\.json.*can be read.*unpack'):
        read_split(tmp_path / 'splits/train.json')
