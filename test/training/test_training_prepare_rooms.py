import json

import numpy as np
import pytest
from PIL import Image

from concerto_ros.rooms.classes import CLASS_ID, SCANNET20
from concerto_ros.rooms.room import SyntheticRoom
from training.datasets.layout import read_split
from training.prepare.command import main
from training.prepare.rooms import labels
from training.prepare.scene import evenly


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('rooms')
    options = '--seeds 3:4 --frames 6 --images 5 --size 160x120 --split val --workers 1'
    assert main(['rooms', *options.split(), '-o', str(folder)]) == 0
    return folder


def arrays(folder):
    return {path.stem: np.load(path) for path in folder.glob('*.npy')}


def test_the_cloud_is_complete(root):
    scene = arrays(root / 'val' / 'room_000003')
    assert {name: array.dtype for name, array in scene.items()} == {
        'coord': np.float32,
        'color': np.uint8,
        'normal': np.float32,
        'segment20': np.int16,
        'segment55': np.int16,
        'instance': np.int32,
    }
    assert len({len(array) for array in scene.values()}) == 1
    assert len(scene['coord']) > 5000
    length = np.linalg.norm(scene['normal'], axis=1)
    assert ((np.abs(length - 1) < 1e-3) | (length == 0)).all()


def test_labels_agree_with_the_height(root):
    """The room's map has the floor at zero, so its label must be there and nowhere else."""
    scene = arrays(root / 'val' / 'room_000003')
    floor = scene['segment20'] == SCANNET20.index('floor')
    assert floor.sum() > 100
    assert np.abs(scene['coord'][floor, 2]).max() < 0.1
    assert (scene['segment20'] < 0).mean() < 0.3


def test_colours_of_links_agree_with_the_cloud(root):
    color = np.load(root / 'val' / 'room_000003' / 'color.npy').astype(float)
    folder = root / 'images' / 'val' / 'room_000003'
    names = sorted(path.stem for path in (folder / 'color').glob('*.jpg'))
    assert len(names) == 5
    for name in names:
        image = np.asarray(Image.open(folder / 'color' / f'{name}.jpg')).astype(float)
        x, y, point = np.load(folder / 'correspondence' / f'{name}.npy').T
        assert len(point) > 500
        assert np.median(np.abs(image[y, x] - color[point]).mean(axis=1)) < 15


def test_the_split_lists_chunks_of_four(root):
    samples = json.loads((root / 'splits' / 'val.json').read_text())
    assert [len(sample['images']) for sample in samples.values()] == [4, 1]
    read = read_split(root / 'splits' / 'val.json')
    assert [path.stem for s in read for path in s.images] == [
        '000000', '000001', '000003', '000004', '000005',
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_bytes(root, tmp_path):
    options = '--seeds 3:4 --frames 6 --images 5 --size 160x120 --split val --workers 1'
    assert main(['rooms', *options.split(), '-o', str(tmp_path)]) == 0
    for path in root.rglob('*.*'):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(root)).read_bytes()


def test_truth_labels_itself_and_nothing_far_from_it():
    room = SyntheticRoom(3)
    truth = room.cloud(0.02)
    rows = slice(None, None, 50)
    far = np.array([[0.0, 0.0, 30.0]], np.float32)
    found = labels(room, np.concatenate([truth.coord[rows], far]))
    np.testing.assert_array_equal(found['instance'], [*truth.instance[rows], -1])
    assert found['segment20'][-1] == -1
    is_wall = truth.label[rows] == CLASS_ID['wall']
    is_ceiling = truth.label[rows] == CLASS_ID['ceiling']
    assert is_wall.any()
    assert is_ceiling.any()
    assert (found['segment20'][:-1][is_wall] == SCANNET20.index('wall')).all()
    assert (found['segment20'][:-1][is_ceiling] == -1).all()  # ScanNet has none
    assert found['segment55'][-1] == -1
    np.testing.assert_array_equal(found['segment55'][:-1] + 1, truth.label[rows])


@pytest.mark.parametrize(
    ('num_frames', 'num_images', 'expected'),
    [(8, 4, {1, 3, 5, 7}), (3, 3, {0, 1, 2}), (2, 5, {0, 1}), (5, 1, {2}), (5, 0, set())],
)
def test_images_are_spread_evenly(num_frames, num_images, expected):
    assert evenly(num_frames, num_images) == expected


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ('--seeds 4:4', 'A below B'),
        ('--seeds 4', 'A below B'),
        ('--seeds 0:1 --size 320x200', 'ratio 4:3'),
        ('--seeds 0:1 --workers 0', 'at least 1'),
        ('--seeds 0:1 --families old', 'invalid choice'),
    ],
)
def test_bad_usage_is_told(options, match, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(['rooms', '-o', str(tmp_path), *options.split()])
    assert error.value.code == 2
    assert match in capsys.readouterr().err


def test_more_images_than_frames_are_refused(tmp_path, caplog):
    assert main(['rooms', '-o', str(tmp_path), '--seeds', '0:1', '--frames', '2']) == 2
    assert 'at most as many, got 2 and 8' in caplog.text
